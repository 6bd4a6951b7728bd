"""Runs with drafts, through the controller: real MRML, a real worker; each slice is drafted, then refined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.events import Progress, Stage
from fewshot_annotate.host.fill.preparation import prepare, read_input
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.mrml.grid_reader import GridReader
from support import scene_cases, stepwise
from support.scene_cases import Gate, Runner, Runs, Scene, all_equal, case, scene_of
from support.stepwise import DRAFT_DICE, FINAL_DICE

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

FOREVER = 1000.0


@pytest.fixture
def scene() -> Scene:
    return scene_of(case("ct_vertebrae"))


@pytest.fixture
def start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    python_with_stepwise: str,
) -> Iterator[Callable[..., Runner]]:
    """Starts a run of the stepwise engine with the given options."""
    runs = Runs(tmp_path)

    def start(scene: Scene, **options: Any) -> Runner:
        runner = runs(scene, python_with_stepwise)
        runner.start(engine=stepwise.NAME, options=options)
        return runner

    yield start
    runs.finish()
    scene_cases.require_quiet(capfd.readouterr())


@pytest.fixture(scope="module")
def final() -> dict[str, np.ndarray]:
    """The final slices: those of propagate."""
    scene = scene_of(case("ct_vertebrae"))
    runner = Runner(scene)
    runner.fill(engine="propagate")
    runner.controller.close()
    return scene.arrays()


def drafts_of(scene: Scene) -> dict[str, np.ndarray]:
    """The expected drafts: each slice between painted ones is a copy of the nearest of them."""
    labelled = np.array(scene.labelled)
    result = scene.painted()
    for mask in result.values():
        for index in scene.between:
            mask[index] = mask[labelled[np.abs(labelled - index).argmin()]]
    return result


def in_preview(runner: Runner) -> dict[str, np.ndarray]:
    """Voxels of the preview by ID of the segment that they will be written to."""
    preview = runner.controller.run.preview
    preview.redraw(now=True)
    return {
        name: slicer.util.arrayFromSegmentBinaryLabelmap(preview.node, f"Preview_0_{value}", runner.scene.volume_node)
        > 0
        for value, name in enumerate(runner.scene.ids, start=1)
    }


def progress_is(runner: Runner, stage: Stage, count: int) -> Callable[[], bool]:
    def reached() -> bool:
        progress = runner.controller.progress
        return progress.stage == stage and progress.done_in_stage >= count and not runner.controller.run.to_show

    return reached


def test_drafts_are_shown_replaced_and_only_final_slices_committed(
    scene: Scene, start: Callable[..., Runner], gate: Gate, final: dict[str, np.ndarray]
) -> None:
    before, drafts, count = scene.arrays(), drafts_of(scene), len(scene.between)
    runner = start(scene, fit=0.0)
    gate.allow(count)
    runner.until(progress_is(runner, Stage.REFINING, 0))
    shown = in_preview(runner)
    for name in scene.ids:
        np.testing.assert_array_equal(shown[name][scene.between], drafts[name][scene.between])
    gate.allow(count + 3)
    runner.until(progress_is(runner, Stage.REFINING, 3))
    refined, rest = scene.between[:3], scene.between[3:]
    shown = in_preview(runner)
    for name in scene.ids:
        np.testing.assert_array_equal(shown[name][refined], final[name][refined])
        np.testing.assert_array_equal(shown[name][rest], drafts[name][rest])
    assert all_equal(scene.arrays(), before)
    gate.open()
    runner.to_end()
    assert runner.controller.error is None
    assert all_equal(scene.arrays(), final)
    assert runner.undo_states_saved == 1
    assert runner.controller.message == f"{count} slices filled."


def test_stop_during_the_fit_keeps_the_drafts(scene: Scene, start: Callable[..., Runner]) -> None:
    count = len(scene.between)
    runner = start(scene, fit=FOREVER)
    runner.until(lambda: runner.controller.progress.fraction > 0)
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert runner.controller.message == f"Stopped; {count} slices filled, {count} of them drafts."
    assert all_equal(scene.arrays(), drafts_of(scene))
    assert runner.undo_states_saved == 1


def test_stop_during_refining_keeps_the_best_of_each_slice(
    scene: Scene, start: Callable[..., Runner], gate: Gate, final: dict[str, np.ndarray]
) -> None:
    count = len(scene.between)
    expected = drafts_of(scene)
    runner = start(scene, fit=0.0)
    gate.allow(count + 3)
    refined = progress_is(runner, Stage.REFINING, 3)
    runner.until(lambda: refined() and gate.holds_after(count + 3))
    runner.controller.cancel(keep=True)
    gate.allow(count + 4)  # the worker stops after its current slice
    runner.to_end()
    for name, mask in expected.items():
        mask[scene.between[:4]] = final[name][scene.between[:4]]
    assert all_equal(scene.arrays(), expected)
    assert runner.controller.message == f"Stopped; {count} slices filled, {count - 4} of them drafts."


def test_cancel_during_the_fit_changes_nothing(scene: Scene, start: Callable[..., Runner]) -> None:
    before = scene.arrays()
    runner = start(scene, fit=FOREVER)
    runner.until(lambda: runner.controller.progress.fraction > 0)
    assert runner.controller.expected
    runner.controller.cancel(keep=False)
    assert all_equal(scene.arrays(), before)
    assert runner.controller.expected == {}
    assert runner.undo_states_saved == 0


@pytest.mark.parametrize("end", ["keep", "resume"])
def test_a_worker_killed_during_the_fit_loses_no_draft(
    end: str, scene: Scene, start: Callable[..., Runner], final: dict[str, np.ndarray]
) -> None:
    runner = start(scene, fit=2.0)
    runner.until(lambda: runner.controller.progress.fraction > 0)
    runner.controller.run.process.kill()
    runner.until(lambda: runner.controller.state is State.STOPPED)
    assert runner.controller.message.endswith("finished slices are kept; press Resume to go on.")
    if end == "keep":
        runner.controller.cancel(keep=True)
        runner.to_end()
        assert all_equal(scene.arrays(), drafts_of(scene))
    else:
        runner.controller.resume()
        runner.to_end()
        assert all_equal(scene.arrays(), final)


def test_drafts_of_an_engine_that_fails_later_can_be_kept(scene: Scene, start: Callable[..., Runner]) -> None:
    runner = start(scene, fit=0.0, failure="bug")
    runner.until(lambda: runner.controller.state is State.STOPPED)
    assert runner.controller.message.startswith("An unexpected error ended the run (ZeroDivisionError, code ")
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert all_equal(scene.arrays(), drafts_of(scene))


def test_the_expected_dice_of_each_segment_is_shown_and_stored_after_the_run(
    scene: Scene, start: Callable[..., Runner]
) -> None:
    runner = start(scene, fit=1.0)
    assert runner.controller.expected == {}
    runner.until(lambda: len(runner.controller.expected) == len(scene.ids))
    assert {expected.dice for _, expected in runner.controller.expected.values()} == {DRAFT_DICE[0]}
    runner.to_end()
    assert list(runner.controller.expected) == scene.ids
    segmentation = scene.node.GetSegmentation()
    for segment_id, (name, expected) in runner.controller.expected.items():
        assert name == segmentation.GetSegment(segment_id).GetName()
        assert (expected.dice, expected.low, expected.high) == FINAL_DICE
    runner.start(engine="propagate", options={})
    assert runner.controller.expected == {}
    runner.to_end()


@pytest.fixture
def overlapping() -> Scene:
    """A scene whose segments need two layers."""
    original = case("ct_vertebrae")
    masks = dict(original.masks)
    masks["both"] = np.logical_or.reduce(list(masks.values()))
    return scene_of(replace(original, masks=masks))


@pytest.mark.slow
def test_overlapping_segments_have_a_common_progress_and_an_expected_dice_each(
    overlapping: Scene, start: Callable[..., Runner]
) -> None:
    runner = start(overlapping, fit=0.6)
    reported: list[Progress] = []

    def finished() -> bool:
        if runner.controller.state is State.RUNNING:
            reported.append(runner.controller.progress)
        return runner.controller.state is State.IDLE

    runner.until(finished)
    assert set(runner.controller.expected) == set(overlapping.ids)
    fractions = [progress.fraction for progress in reported]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(progress.stage for progress in reported)) == list(Stage)
    assert reported[-1].total == 2 * len(overlapping.between)
    assert runner.controller.progress.done == runner.controller.progress.total


def test_overlapping_segments_are_all_drafted_before_the_fit(
    overlapping: Scene, start: Callable[..., Runner]
) -> None:
    runner = start(overlapping, fit=FOREVER)
    runner.until(lambda: runner.controller.progress.stage == Stage.REFINING)
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert all_equal(overlapping.arrays(), drafts_of(overlapping))


def test_the_time_limit_goes_into_the_job_and_is_shared_by_layers(overlapping: Scene, tmp_path: Path) -> None:
    scene = overlapping
    inputs = read_input(scene.nodes, scene.settings(budget=60.0), GridReader())
    assert [folder.job.budget for folder in prepare(inputs, tmp_path / "jobs").folders] == [30.0, 30.0]
    with pytest.raises(InputError, match="no time limit"):
        read_input(scene.nodes, scene.settings(budget=0.0), GridReader())
