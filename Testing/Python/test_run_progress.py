"""Progress of a run: finished slices, a fraction that never falls, and the time left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.events import Event, Progress, Stage, event_from_line
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.jobs.layers import LayerRun, OverallProgress
from fewshot_annotate.jobs.progress import RunProgress
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.slice_writer import SliceWriter
from hypothesis import example, given
from hypothesis import strategies as st
from support.labels import small_case
from support.processes import make_folder

AXIS = SliceAxis(0)

engine_calls = st.one_of(
    st.tuples(st.just("fraction"), st.floats() | st.integers(-2, 3)),
    st.tuples(st.just("draft"), st.integers(0, 40)),
    st.tuples(st.just("final"), st.integers(0, 40)),
)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """A job of which no slice is filled; do not change it."""
    return make_folder(tmp_path_factory.mktemp("untouched") / "job", *small_case(), AXIS, 8)


@example(calls=[("fraction", 1e-84)])
@given(calls=st.lists(engine_calls, max_size=30))
def test_progress_never_falls_whatever_the_engine_yields(untouched: JobFolder, calls: list[tuple[str, Any]]) -> None:
    folder, pending = untouched, untouched.pending()
    reported: list[Event] = []
    run_progress = RunProgress(folder, reported.append)
    run_progress.report_progress()
    final: set[int] = set()
    for kind, value in calls:
        if kind == "fraction":
            run_progress.report_fraction(value)
            run_progress.report_progress()
            continue
        index = pending[value % len(pending)]
        if index not in final:
            run_progress.slice_written(index, draft=kind == "draft")
            final |= {index} if kind == "final" else set()
    progress = [event for event in reported if isinstance(event, Progress)]
    assert all(event_from_line(event.to_line()) == event for event in reported)
    assert [event.fraction for event in progress] == sorted(event.fraction for event in progress)
    assert all(0 <= event.drafts <= event.done <= event.total for event in progress)
    assert progress[-1].done - progress[-1].drafts == len(final)


def test_the_time_left_is_not_extrapolated_from_what_comes_before_the_first_work(untouched: JobFolder) -> None:
    now = [0.0]
    events: list[Event] = []
    progress = RunProgress(untouched, events.append, clock=lambda: now[0])
    for seconds, fraction in ((5.0, 0.0), (7.0, 0.1), (9.0, 0.2), (11.0, 0.3), (13.0, 0.4)):
        now[0] = seconds
        progress.report_fraction(fraction)
        progress.report_progress()
    etas = [event.eta for event in events if isinstance(event, Progress)]
    assert etas[0] is None
    assert etas[-1] == 12.0


def test_slices_count_as_work_only_if_the_engine_reports_no_progress(untouched: JobFolder) -> None:
    events: list[Event] = []
    progress = RunProgress(untouched, events.append)
    first, second, third, *_ = pending = untouched.pending()
    progress.report_fraction(0.5)
    progress.slice_written(first, draft=False)
    progress.report_fraction(0.6)
    progress.slice_written(second, draft=False)
    progress.slice_written(third, draft=False)
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == [0.5, 0.6, round(0.6 + 0.4 / (len(pending) - 2), 4)]
    for index in pending[3:]:
        progress.report_fraction(0.9)
        progress.slice_written(index, draft=False)
    assert isinstance(events[-1], Progress)
    assert events[-1].fraction == 1, "also if the engine does not report it"


def test_progress_of_layers_with_drafts_never_falls() -> None:
    drafted = [Progress(done=4, total=4, eta=None, fraction=0.1, drafts=4, stage=Stage.REFINING)]
    refined = [
        Progress(done=4, total=4, eta=None, fraction=0.0, drafts=4, stage=Stage.REFINING),
        Progress(done=4, total=4, eta=6.0, fraction=0.5, drafts=2, stage=Stage.REFINING),
        Progress(done=4, total=4, eta=0.0, fraction=1.0, drafts=0, stage=Stage.REFINING),
    ]
    overall = OverallProgress(2)
    overall_progress = [
        overall.updated(LayerRun(layer, drafts_only=True), one) for layer in range(2) for one in drafted
    ]
    overall_progress += [overall.updated(LayerRun(layer), one) for layer in range(2) for one in refined]
    assert [one.stage for one in overall_progress] == [Stage.DRAFTING] + [Stage.REFINING] * 7
    assert [one.done for one in overall_progress] == [4] + [8] * 7
    assert [one.done_in_stage for one in overall_progress] == [4, 0, 0, 2, 4, 4, 6, 8]
    assert [one.fraction for one in overall_progress] == [0.05, 0.1, 0.1, 0.3, 0.55, 0.55, 0.75, 1.0]
    assert [one.eta is None for one in overall_progress] == [True, True, True, False, False, True, False, False]


def test_progress_of_a_resumed_run_includes_finished_slices(awkward_path: Path) -> None:
    folder = make_folder(awkward_path / "job", *small_case(), AXIS, 8)
    first, second, *_ = pending = folder.pending()
    shape = folder.shape[1:]
    with SliceWriter(folder) as writer:
        writer.write(first, np.ones(shape), np.ones(shape))
        writer.write(second, np.ones(shape), np.ones(shape), draft=True)
    reported: list[Event] = []
    progress = RunProgress(folder, reported.append)
    progress.report_progress()
    assert reported == [
        Progress(
            done=2, total=len(pending), eta=None, fraction=round(1 / len(pending), 4), drafts=1, stage=Stage.DRAFTING
        )
    ]
