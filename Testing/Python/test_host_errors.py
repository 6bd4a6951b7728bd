"""Unexpected errors in a run: it ends once, is reported, and the segmentation is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.export.algorithm import Algorithm
from fewshot_annotate.host.annotation import survey as survey_module
from fewshot_annotate.host.annotation.record_store import RECORD_ATTRIBUTE
from fewshot_annotate.host.annotation.survey import Survey
from fewshot_annotate.host.diagnostics.unexpected_errors import StepRunner
from fewshot_annotate.host.fill import changed_layers as changed_layers_module
from fewshot_annotate.host.fill import commit as commit_module
from fewshot_annotate.host.fill import controller as controller_module
from fewshot_annotate.host.fill.active_run import ActiveRun
from fewshot_annotate.host.fill.preview import Preview
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.fill.surfaces import surface_run as surface_run_module
from fewshot_annotate.host.messages import error_text
from fewshot_annotate.host.mrml import grid_reader
from fewshot_annotate.host.mrml.reading import CLOSED_SURFACE
from support.scene_cases import Gate, Runner, Runs, Scene, all_equal, case, scene_of
from support.unexpected_error import UnexpectedError

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

PATIENT = "Doe^Jane 1970-01-01"


ERRORS = (
    UnexpectedError,
    KeyError,
    AttributeError,
    AssertionError,
    TypeError,
    RuntimeError,
    ZeroDivisionError,
    StopIteration,
)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home" / "errors.log"


def failing(kind: type[Exception]) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise kind(PATIENT)

    return fail


def tags(scene: Scene) -> list[bool]:
    """Which tags of the engine the segments have."""
    names = Algorithm("engine", "1", "weights").tags()
    segments = [scene.node.GetSegmentation().GetSegment(segment_id) for segment_id in scene.ids]
    return [segment.HasTag(name) for segment in segments for name in names]


def state_of(scene: Scene) -> tuple[Any, ...]:
    segmentation = scene.node.GetSegmentation()
    surface = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    return tags(scene), list(segmentation.GetSegmentIDs()), scene.node.GetAttribute(RECORD_ATTRIBUTE), surface


def poll_on(runner: Runner, count: int = 20) -> None:
    """Poll on, as a timer does; no poll may raise an error or change anything."""
    state, message = runner.controller.state, runner.controller.message
    for _ in range(count):
        runner.controller.poll()
    assert (runner.controller.state, runner.controller.message) == (state, message)


@pytest.mark.parametrize("kind", ERRORS)
def test_an_unexpected_error_stops_the_run_once_and_its_finished_slices_can_be_kept(
    kind: type[Exception], runs: Runs, gate: Gate, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    gate.allow(2)
    runner.until(lambda: runner.shown() == 2)
    with monkeypatch.context() as patch:
        patch.setattr(Preview, "redraw", failing(kind))
        runner.until(lambda: runner.controller.state is State.STOPPED)
        poll_on(runner)
    assert kind.__name__ in runner.controller.message
    assert PATIENT not in runner.controller.message + log.read_text()
    assert log.read_text().count(kind.__name__) == 1
    assert all_equal(scene.arrays(), before)
    gate.open()
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert not all_equal(scene.arrays(), before)


@pytest.mark.parametrize("kind", [UnexpectedError, KeyError])
@pytest.mark.parametrize("step", ["prepare", "open_preview", "start_worker", "require_nodes"])
def test_an_unexpected_error_while_a_run_begins_ends_it(
    step: str, kind: type[Exception], runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before, state = scene.arrays(), state_of(scene)
    runner = runs(scene)
    with monkeypatch.context() as patch:
        patch.setattr(controller_module if step == "prepare" else ActiveRun, step, failing(kind))
        runner.start()
        runner.until(lambda: runner.controller.state in (State.IDLE, State.STOPPED))
        poll_on(runner)
    assert kind.__name__ in runner.controller.message
    if runner.controller.state is State.STOPPED:
        runner.controller.cancel(keep=False)
    assert all_equal(scene.arrays(), before)
    assert state_of(scene) == state
    runner.fill()
    assert not all_equal(scene.arrays(), before)


def test_an_unexpected_error_of_a_listener_ends_the_run_once(
    runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    runner.controller.changed.connect(failing(UnexpectedError))
    runner.until(lambda: runner.controller.state is State.IDLE)
    runner.controller.changed.disconnect_all()
    poll_on(runner)
    assert "UnexpectedError" in runner.controller.message
    assert all_equal(scene.arrays(), before)


# --- the commit

STEPS = {
    "undo": (None, "save_undo"),  # a method of the runner
    "labelmap": (changed_layers_module.ChangedLayer, "write"),
    "events": (changed_layers_module, "announce_voxels"),
    "editor": (slicer, "vtkMRMLSegmentEditorNode"),
    "first box": (commit_module, "numpy_to_vtk"),
    "read back": (grid_reader, "read_grid"),  # its first call is at the start of the run
    "tags": (commit_module, "tag_segments"),
    "record": (commit_module, "write_record"),
}
BY_SLICER = ("editor", "first box", "read back")


def at_call(count: int, original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, whose call number `count` raises an error instead."""
    calls = []

    def call(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        if len(calls) == count:
            raise UnexpectedError(PATIENT)
        return original(*arguments, **keywords)

    return call


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "count", "surface"),
    [
        *((step, 1, False) for step in STEPS if step != "read back"),
        ("events", 2, True),
        *(("first box", 2, surface) for surface in (False, True)),
        ("read back", 2, False),
        ("undo", 1, True),
        ("record", 1, True),
    ],
)
def test_a_commit_that_fails_at_any_step_is_undone_and_can_be_tried_again(
    step: str, count: int, surface: bool, runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    if surface:
        scene.node.CreateClosedSurfaceRepresentation()
    before, state = scene.arrays(), state_of(scene)
    runner = runs(scene)
    owner, name = STEPS[step]
    owner = owner or runner
    if step in BY_SLICER:  # as where segments begin to overlap: Slicer writes the voxels
        monkeypatch.setattr(surface_run_module, "changed_layers", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, at_call(count, getattr(owner, name)))
        runner.start()
        runner.until(lambda: runner.controller.state is State.STOPPED)
        poll_on(runner)
    assert all_equal(scene.arrays(), before)
    assert state_of(scene) == state
    assert "The segmentation is as it was" in runner.controller.message
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert not all_equal(scene.arrays(), before)
    assert scene.node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE) == surface


def test_an_error_of_the_review_does_not_undo_the_fill(
    runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    runner.controller.committed.connect(failing(UnexpectedError))
    runner.fill()
    assert not all_equal(scene.arrays(), before)
    assert any("UnexpectedError" in warning for warning in runner.controller.warnings)


@pytest.mark.parametrize("step", ["changed", "preview"])
def test_an_error_after_the_commit_does_not_undo_it_and_is_reported_as_a_warning(
    step: str, runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    controller = runner.controller
    tag_segments = commit_module.tag_segments

    def tag_and_fail(*arguments: Any) -> None:
        tag_segments(*arguments)
        if step == "preview":
            monkeypatch.setattr(Preview, "remove", failing(UnexpectedError))
        else:
            controller.changed.connect(failing(UnexpectedError))

    with monkeypatch.context() as patch:
        patch.setattr(commit_module, "tag_segments", tag_and_fail)
        runner.start()
        runner.until(lambda: controller.state is State.IDLE)
        poll_on(runner)
    monkeypatch.undo()
    assert not all_equal(scene.arrays(), before)
    assert "slices filled" in controller.message
    assert controller.error is None
    assert any("UnexpectedError" in warning for warning in controller.warnings)
    assert controller.unfinished_runs.find(scene.node) is None


# --- other steps of the timer


def test_steps_of_a_timer_are_run_one_by_one_and_an_error_is_shown_once(log: Path) -> None:
    shown: list[InputError] = []
    calls: list[str] = []

    def broken() -> None:
        calls.append("broken")
        raise UnexpectedError(PATIENT)

    steps = StepRunner(shown.append)
    for _ in range(20):
        assert steps.run(broken)
        assert steps.run(lambda: calls.append("working")) is None
    assert calls == ["broken", "working"] * 20
    (error,) = shown
    assert "UnexpectedError" in error_text(error)
    assert PATIENT not in error_text(error) + log.read_text()
    assert log.read_text().count("\nUnexpectedError\n") == 1


@pytest.mark.parametrize("kind", [UnexpectedError, MemoryError])
def test_a_survey_that_fails_unexpectedly_ends_with_a_message(
    kind: type[Exception], runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    survey = Survey()
    try:
        for owner, name in (
            (grid_reader, "read_grid"),
            (survey_module, "survey_segmentation"),
            (survey_module, "read_record"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, failing(kind))
                survey.request(0.0)
                while not survey.poll(scene.nodes):
                    assert survey.busy
            assert survey.error is not None
            assert PATIENT not in error_text(survey.error)
            assert not survey.busy
        survey.request(0.0)
        while not survey.poll(scene.nodes):
            assert survey.busy
        assert survey.error is None
        assert survey.extents
    finally:
        survey.close()
