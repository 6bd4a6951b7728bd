"""SliceProgress: progress of an engine that fills slices one by one, including progress within its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class SliceProgress:
    """Reports the completed fraction of several steps of equal cost.

    Parameters
    ----------
    report_fraction : function
        `RunContext.report_progress`.
    count : int
        Number of steps.
    """

    def __init__(self, report_fraction: Callable[[float], None], count: int) -> None:
        self._report_fraction = report_fraction
        self._steps = max(1, count)
        self._finished = 0

    def report(self, fraction: float) -> None:
        """Report the completed fraction, 0..1, of the current step; raises `Stopped` if the run should stop."""
        self._report_fraction(min(1.0, (self._finished + fraction) / self._steps))

    def finish(self) -> None:
        """Report that the current step is done."""
        self._finished += 1
        self.report(0)


@contextmanager
def report_blocks(blocks: Sequence[nn.Module], report: Callable[[float], None]) -> Iterator[None]:
    """Context manager: call `report` with the finished fraction, 0..1, after the forward pass of each block."""

    def done(number: int, *_: object) -> None:
        report((number + 1) / len(blocks))

    hooks = [block.register_forward_hook(partial(done, number)) for number, block in enumerate(blocks)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
