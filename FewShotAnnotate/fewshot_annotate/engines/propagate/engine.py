"""Engine `propagate`: labels propagated from neighbouring labelled slices, by optical flow and simpler candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...core.expected_dice import ExpectedDice
from ...core.support import Support
from ...core.volume import Volume
from ..base import Engine, RunContext
from ..progress_counter import ProgressCounter

if TYPE_CHECKING:
    from .fusion import FusedPropagation


class Propagate(Engine):
    """Optical-flow propagation, mixed with simpler candidates where these are better on held-out labelled slices."""

    name = "propagate"
    title = "Propagate"
    summary = "Carries labels from slice to slice along optical flow. No download, no GPU."
    licence = "Apache-2.0 (built in)"
    uses_channels = True
    _fused: FusedPropagation | None = None

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Keep views of the input, and choose the images that optical flow compares."""
        from .flow_propagation import FlowPropagation  # here, so that engines are listed without it

        super().prepare(volume, support, context)
        self._work = ProgressCounter(context.report_progress)
        self._flow = FlowPropagation(volume, support, on_work=self._work.done)
        self._volume = volume
        self._fused = None

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield labelled slices unchanged, then query slices gap by gap.

        The candidates are evaluated on held-out slices before the first query slice.
        """
        from .fusion import FusedPropagation

        labelled = set(self._flow.support.indices)
        yield from self._flow.predict([index for index in slice_indices if index in labelled])
        query = [index for index in slice_indices if index not in labelled]
        self._work.plan(self._flow.expected_time.of(self._flow.support, query))
        if query:
            self._work.plan(len(query) * self._flow.expected_time.candidates)
            self._fused = self._fused or FusedPropagation(self._volume, self._flow, self._work)
            yield from self._fused.predict(query)

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label over the slices predicted so far."""
        return () if self._fused is None else self._fused.expected_dice()


class FlowAlone(Engine):
    """Optical flow that is not mixed with other candidates, for suggestions; not in the registry of engines."""

    name = Propagate.name
    uses_channels = True

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input; small structures that propagation loses do not lower the confidence."""
        from .flow_propagation import FlowPropagation

        super().prepare(volume, support, context)
        self._work = ProgressCounter(context.report_progress)
        self._flow = FlowPropagation(volume, support, strengthen_unmatched=False, on_work=self._work.done)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield labelled slices unchanged, then query slices gap by gap."""
        self._work.plan(self._flow.expected_time.of(self._flow.support, slice_indices))
        return self._flow.predict(slice_indices)
