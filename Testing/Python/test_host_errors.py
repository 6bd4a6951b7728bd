"""Errors that nobody foresaw in a run: it ends once, is reported, and the segmentation is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from FewShotAnnotateLib.engines.pretrained.weights import HOME_VARIABLE
from FewShotAnnotateLib.export.algorithm import Algorithm
from FewShotAnnotateLib.host import commit as commit_module
from FewShotAnnotateLib.host import controller as controller_module
from FewShotAnnotateLib.host.controller import FillController, State
from FewShotAnnotateLib.host.record import RECORD_ATTRIBUTE, PaintRecord
from FewShotAnnotateLib.host.scene import CLOSED_SURFACE
from support.scene_cases import Gate, Runner, Runs, Scene, all_equal, case, scene_of

pytest_plugins = ("support.run_fixtures",)

PATIENT = "Doe^Jane 1970-01-01"


class Odd(Exception):
    """An error of a kind that nobody foresaw."""


ERRORS = (Odd, KeyError, AttributeError, AssertionError, TypeError, RuntimeError, ZeroDivisionError, StopIteration)


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


def tick_on(runner: Runner, count: int = 20) -> None:
    """Ticks that a timer goes on with; none may raise or change anything."""
    state, message = runner.controller.state, runner.controller.message
    for _ in range(count):
        runner.controller.tick()
    assert (runner.controller.state, runner.controller.message) == (state, message)


@pytest.mark.parametrize("kind", ERRORS)
def test_an_unforeseen_error_while_slices_arrive_stops_the_run_once_and_they_can_be_kept(
    kind: type[Exception], runs: Runs, gate: Gate, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    gate.allow(2)
    runner.until(lambda: runner.shown() == 2)
    with monkeypatch.context() as patch:
        patch.setattr(FillController, "_show_slices", failing(kind))
        runner.until(lambda: runner.controller.state is State.STOPPED)
        tick_on(runner)
    assert kind.__name__ in runner.controller.message
    assert PATIENT not in runner.controller.message + log.read_text()
    assert log.read_text().count(kind.__name__) == 1
    assert all_equal(scene.arrays(), before)
    gate.open()
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert not all_equal(scene.arrays(), before)


@pytest.mark.parametrize("kind", [Odd, KeyError])
@pytest.mark.parametrize("step", ["prepare", "_finish_preparing", "_start_worker", "_nodes_there"])
def test_an_unforeseen_error_while_a_run_begins_ends_it(
    step: str, kind: type[Exception], runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before, state = scene.arrays(), state_of(scene)
    runner = runs(scene)
    with monkeypatch.context() as patch:
        patch.setattr(controller_module if step == "prepare" else FillController, step, failing(kind))
        runner.start()
        runner.until(lambda: runner.controller.state in (State.IDLE, State.STOPPED))
        tick_on(runner)
    assert kind.__name__ in runner.controller.message
    if runner.controller.state is State.STOPPED:
        runner.controller.cancel(keep=False)
    assert all_equal(scene.arrays(), before)
    assert state_of(scene) == state
    runner.fill()
    assert not all_equal(scene.arrays(), before)


def test_an_unforeseen_error_of_whoever_is_told_ends_the_run_once(
    runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    monkeypatch.setattr(runner.controller, "_on_change", failing(Odd))
    runner.until(lambda: runner.controller.state is State.IDLE)
    monkeypatch.setattr(runner.controller, "_on_change", lambda: None)
    tick_on(runner)
    assert "Odd" in runner.controller.message
    assert all_equal(scene.arrays(), before)


# --- the commit

PLACES = {
    "undo": (None, "_save_undo"),  # of the controller
    "editor": (commit_module, "_private_editor"),
    "first box": (commit_module, "_modifier"),
    "read back": (commit_module, "read_grid"),
    "tags": (controller_module, "mark_as_made"),
    "record": (PaintRecord, "keep"),
}


def at_call(count: int, original: Callable[..., Any]) -> Callable[..., Any]:
    """The original until the call of this number, which raises."""
    calls = []

    def call(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        if len(calls) == count:
            raise Odd(PATIENT)
        return original(*arguments, **keywords)

    return call


@pytest.mark.parametrize("surface", [False, True])
@pytest.mark.parametrize(("place", "count"), [*((place, 1) for place in PLACES), ("first box", 2)])
def test_a_commit_that_fails_half_way_is_undone_and_can_be_tried_again(
    place: str, count: int, surface: bool, runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    if surface:
        scene.node.CreateClosedSurfaceRepresentation()
    before, state = scene.arrays(), state_of(scene)
    runner = runs(scene)
    owner, name = PLACES[place]
    owner = owner or runner.controller
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, at_call(count, getattr(owner, name)))
        runner.start()
        runner.until(lambda: runner.controller.state is State.STOPPED)
        tick_on(runner)
    assert all_equal(scene.arrays(), before)
    assert state_of(scene) == state
    assert "The segmentation is as it was" in runner.controller.message
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert not all_equal(scene.arrays(), before)
    assert scene.node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE) == surface


def test_a_review_that_fails_takes_nothing_back(runs: Runs, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    monkeypatch.setattr(runner.controller, "_on_outcome", failing(Odd))
    runner.fill()
    assert not all_equal(scene.arrays(), before)
    assert any("Odd" in warning for warning in runner.controller.warnings)
