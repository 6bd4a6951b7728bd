"""The loop over slices: each query slice once, until the run should stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.base import Engine, RunContext, Stopped
from fewshot_annotate.jobs.filling import Filling

CERTAIN = np.stack([np.zeros((2, 2)), np.ones((2, 2))]).astype(np.float32)


class Scripted(Engine):
    """A stand-in that yields the slices of its script, whatever is requested."""

    name = "scripted"
    title = summary = licence = ""

    def __init__(self, drafts: Sequence[int] = (), results: Sequence[int] = (), reported: Sequence[int] = ()) -> None:
        super().__init__()
        self.script = drafts, results, reported
        self.requested: list[list[int]] = []

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        super().prepare(volume, support, context)
        for index in self.script[2]:
            context.report_draft(index, CERTAIN)

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        return self._yielded(slice_indices, self.script[0])

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        return self._yielded(slice_indices, self.script[1])

    def _yielded(self, requested: Sequence[int], script: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        self.requested.append(list(requested))
        yield from ((index, CERTAIN) for index in script)


def filling(engine: Engine, slices: Sequence[int], context: RunContext = RunContext()) -> Filling:
    labels = np.zeros((6, 2, 2), dtype=np.uint8)
    labels[[0, 5]] = 1
    support = Support.from_label_map(LabelMap(labels, Geometry(labels.shape)), SliceAxis(0))
    return Filling(engine, Volume(labels.astype(np.float32), Geometry(labels.shape)), support, slices, context)


def test_slices_have_the_order_in_which_the_engine_yields_them() -> None:
    engine = Scripted(results=[3, 1, 2])
    assert [index for index, _ in filling(engine, [2, 1, 3]).results()] == [3, 1, 2]
    assert engine.requested == [[1, 2, 3]]


def test_slices_not_requested_and_repeated_slices_are_ignored() -> None:
    drafts: list[int] = []
    context = RunContext(report_draft=lambda index, probabilities: drafts.append(index))
    fill = filling(Scripted(drafts=[0, 1, 1], results=[5, 1, 2, 1], reported=[4, 2]), [1, 2], context)
    assert [index for index, _ in fill.drafts()] == [1]
    assert [index for index, _ in fill.results()] == [1, 2]
    assert drafts == [2]


def test_finished_slices_are_not_drafted_again() -> None:
    engine = Scripted(drafts=[1, 3])
    assert [index for index, _ in filling(engine, [1, 2, 3]).drafts(finished=[1, 2])] == [3]
    assert engine.requested == [[3]]


def test_an_engine_that_leaves_out_slices_is_an_error() -> None:
    with pytest.raises(InputError) as error:
        list(filling(Scripted(results=[1]), [1, 2, 3]).results())
    assert error.value.code == "engine_results_missing"
    assert error.value.data == {"engine": "scripted", "count": 2}


def test_a_run_can_be_stopped_between_slices() -> None:
    found: list[int] = []
    fill = filling(Scripted(results=[1, 2, 3]), [1, 2, 3], RunContext(stop=lambda: len(found) == 2))
    with pytest.raises(Stopped):
        found.extend(index for index, _ in fill.results())
    assert found == [1, 2]


def test_a_run_stopped_beforehand_does_not_begin() -> None:
    engine = Scripted(drafts=[1], results=[1])
    fill = filling(engine, [1], RunContext(stop=lambda: True))
    for slices in (fill.drafts(), fill.results()):
        with pytest.raises(Stopped):
            list(slices)
    assert engine.requested == []


def test_a_run_stopped_at_its_last_slice_is_finished() -> None:
    found: list[int] = []
    fill = filling(Scripted(results=[1, 2]), [1, 2], RunContext(stop=lambda: len(found) == 2))
    found.extend(index for index, _ in fill.results())
    assert found == [1, 2]


def test_progress_is_reported_before_a_run_stops() -> None:
    reported: list[float] = []
    context = RunContext(on_progress=reported.append, stop=lambda: reported[-1] > 0.1)
    context.report_progress(0.1)
    with pytest.raises(Stopped):
        context.report_progress(0.2)
    assert reported == [0.1, 0.2]
    assert not isinstance(Stopped(), Exception), "an engine that catches every Exception lets it pass"


def test_a_run_context_has_defaults() -> None:
    context = RunContext()
    context.report_progress(0.5)
    context.warn("anything")
    context.report_draft(1, CERTAIN)
    assert context.seconds_left == float("inf")
    with pytest.raises(AttributeError):
        context.deadline = 3.0  # type: ignore[misc]
