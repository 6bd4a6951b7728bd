"""Filling: the loop over the slices of a run, shared by panel, command line, batch, compare and suggest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..core.channels import coverage_notes, on_one_grid
from ..core.errors import InputError, Message
from ..core.support import Support
from ..core.volume import Volume
from ..engines.base import Engine, RunContext

SliceResults = Iterator[tuple[int, np.ndarray]]


class Filling:
    """Slices filled by an engine, one after the other.

    Slices that were not requested, and those that the engine yields again, are ignored. A run can be stopped before
    the first slice and between slices, but not after the last one.

    Parameters
    ----------
    engine : Engine
        Its `prepare` is called.
    volume : Volume
        Its further channels are resampled onto its grid, or left out for an engine that uses none, with a warning.
    support : Support
    slices : sequence of int
        The slices to fill.
    context : RunContext
    """

    def __init__(
        self,
        engine: Engine,
        volume: Volume,
        support: Support,
        slices: Sequence[int],
        context: RunContext = RunContext(),
    ) -> None:
        self._engine = engine
        self._slices = sorted(slices)
        requested = frozenset(slices)

        def report_draft(index: int, probabilities: np.ndarray) -> None:
            if index in requested:
                context.report_draft(index, probabilities)

        self._context = replace(context, report_draft=report_draft)
        engine.prepare(_with_usable_channels(engine, volume, context), support, self._context)

    def drafts(self, finished: Collection[int] = ()) -> SliceResults:
        """Yield `(index, probabilities)` of the engine's drafts, if it makes any.

        Parameters
        ----------
        finished : collection of int
            Slices that need no draft.

        Raises
        ------
        Stopped
            The run should stop.
        """
        return self._requested(self._engine.draft, [index for index in self._slices if index not in finished])

    def results(self) -> SliceResults:
        """Yield `(index, probabilities)` of every slice.

        Raises
        ------
        Stopped
            The run should stop.
        InputError
            The engine gave no result for some slices.
        """
        remaining = set(self._slices)
        for index, probabilities in self._requested(self._engine.predict, self._slices):
            remaining.remove(index)
            yield index, probabilities
        if remaining:
            raise InputError("engine_results_missing", engine=self._engine.name, count=len(remaining))

    def _requested(self, method: Callable[[Sequence[int]], SliceResults], slices: Sequence[int]) -> SliceResults:
        """Yield the first result of each requested slice."""
        remaining = set(slices)
        if remaining:
            self._context.raise_if_stopped()
        for index, probabilities in method(slices):
            if index in remaining:
                remaining.remove(index)
                yield index, probabilities
                if remaining:
                    self._context.raise_if_stopped()


def _with_usable_channels(engine: Engine, volume: Volume, context: RunContext) -> Volume:
    """The volume with its further channels on its grid; without them for an engine that uses none."""
    if not volume.further:
        return volume
    if not engine.uses_channels:
        context.warn(Message("channels_ignored", engine=engine.name))
        return replace(volume, further=())
    for note in coverage_notes(volume):
        context.warn(note)
    return on_one_grid(volume)
