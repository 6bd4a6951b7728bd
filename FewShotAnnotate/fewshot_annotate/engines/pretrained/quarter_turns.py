"""Turns: how far an engine is that takes one slice after the other, and within its model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class Turns:
    """Counts equal turns and parts of them.

    Parameters
    ----------
    pulse : function
        `RunContext.report_progress`.
    count : int
        Turns there are.
    """

    def __init__(self, pulse: Callable[[float], None], count: int) -> None:
        self._pulse = pulse
        self._count = max(1, count)
        self._done = 0

    def within(self, part: float) -> None:
        """Report the part of the turn that is done, 0..1. Raises `Stopped` when the run should stop."""
        self._pulse(min(1.0, (self._done + part) / self._count))

    def next(self) -> None:
        """The turn is over."""
        self._done += 1
        self.within(0)


@contextmanager
def watched(blocks: Sequence[nn.Module], tell: Callable[[float], None]) -> Iterator[None]:
    """Call `tell` with the part that is done, 0..1, after each of the blocks that a model goes through in turn."""

    def done(number: int, *_: object) -> None:
        tell((number + 1) / len(blocks))

    hooks = [block.register_forward_hook(partial(done, number)) for number, block in enumerate(blocks)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
