"""Unfinished runs: a host is killed during a run, and its saved scene is opened in another one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.host.annotation.record_store import read_record
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.fill.run_store import RunStore
from fewshot_annotate.host.fill.unfinished_run import RUN_ATTRIBUTE, RunReference
from fewshot_annotate.host.mrml.chosen_nodes import ChosenNodes
from fewshot_annotate.host.mrml.reading import set_locked
from support import crashing_host, mrml, scene_cases
from support.processes import Spawned, wait_for
from support.run_folders import active_runs
from support.saved_scenes import open_scene, save_scene
from support.scene_cases import Gate, Runner, Runs, Scene, all_equal, case, scene_of

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

FINISHED = 3


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, np.ndarray]:
    """Result of an undisturbed run."""
    scene = scene_of(case(crashing_host.CASE))
    runner = Runner(scene)
    runner.fill()
    runner.controller.close()
    return scene.arrays()


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a host that was killed when three slices were finished, its scene saved."""
    folder = tmp_path_factory.mktemp("crashed host")
    with pytest.MonkeyPatch.context() as patch, Spawned() as spawned:
        (folder / "gate").mkdir()
        Gate(folder / "gate", patch).allow(FINISHED)
        folders = [str(Path(__file__).parents[1]), str(Path(crashing_host.__file__).parents[2] / "FewShotAnnotate")]
        path = {"PYTHONPATH": ":".join([str(folder / "gate"), *folders])}
        host = spawned.python("-m", "support.crashing_host", str(folder), str(FINISHED), environment=path)
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        host.kill()
        host.wait()
        store = RunStore(folder / "runs")
        wait_for(lambda: not active_runs(store))
    return folder


@dataclass
class Reopened:
    """The crashed host's scene opened in this process, with the store of its unfinished run."""

    scene: Scene
    runner: Runner
    store: RunStore


@pytest.fixture
def reopen(crashed: Path, tmp_path: Path, runs: Runs) -> Callable[[str], Reopened]:
    """Opens the saved scene of that name."""
    shutil.copytree(crashed / "runs", tmp_path / "runs")

    def reopen(name: str) -> Reopened:
        original = scene_of(case(crashing_host.CASE))
        mrml.new_scene()
        scene = _opened(crashed / name, original)
        return Reopened(scene, runs(scene), runs.store)

    return reopen


def _opened(path: Path, original: Scene) -> Scene:
    open_scene(path)
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    (volume_node,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    editor_node = mrml.segment_editor_node(node, volume_node)
    return Scene(
        case=original.case,
        axis=original.axis,
        labelled=original.labelled,
        volume_node=volume_node,
        node=node,
        editor_node=editor_node,
    )


@pytest.fixture
def reopened(reopen: Callable[[str], Reopened]) -> Reopened:
    return reopen("scene/scene.mrml")


def _require_no_unfinished_run(reopened: Reopened) -> None:
    wait_for(lambda: not reopened.store.interrupted() and not active_runs(reopened.store))
    assert RunReference.read(reopened.scene.node) == RunReference()
    assert reopened.runner.controller.unfinished_runs.find(reopened.scene.node) is None


@pytest.mark.parametrize("name", ["scene/scene.mrml", "scene.mrb"])
def test_a_run_of_a_crashed_host_is_resumed_from_the_saved_scene(
    reopen: Callable[[str], Reopened], undisturbed: dict[str, np.ndarray], name: str
) -> None:
    reopened = reopen(name)
    scene, runner = reopened.scene, reopened.runner
    found = runner.controller.unfinished_runs.find(scene.node)
    assert found is not None
    assert (found.engine, found.done, found.total, found.drafts) == ("propagate", FINISHED, len(scene.between), 0)
    runner.controller.unfinished_runs.resume(scene.nodes)
    runner.until(lambda: runner.controller.state is State.RUNNING)
    assert runner.controller.unfinished_runs.find(scene.node) is None  # it is running
    runner.to_end()
    assert runner.controller.message == f"{len(scene.between)} slices filled."
    assert all_equal(scene.arrays(), undisturbed)
    assert runner.undo_states_saved == 1
    assert read_record(scene.node).present.labelled == tuple(scene.labelled)
    _require_no_unfinished_run(reopened)


def test_the_finished_slices_of_a_crashed_host_are_kept(
    reopened: Reopened, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = reopened.scene, reopened.runner
    before = scene.arrays()
    runner.controller.unfinished_runs.commit(scene.nodes)
    runner.to_end()
    assert runner.controller.message == f"Stopped; {FINISHED} slices filled."
    after, kept = scene.arrays(), scene.between[:FINISHED]
    for name in scene.ids:
        expected = before[name].copy()
        expected[kept] = undisturbed[name][kept]
        np.testing.assert_array_equal(after[name], expected)
    runner.undo_logic.Undo()
    assert all_equal(scene.arrays(), before)
    _require_no_unfinished_run(reopened)


def test_an_unfinished_run_is_deleted_on_request(reopened: Reopened) -> None:
    before = reopened.scene.arrays()
    reopened.runner.controller.unfinished_runs.delete(reopened.scene.node)
    _require_no_unfinished_run(reopened)
    assert all_equal(reopened.scene.arrays(), before)
    with pytest.raises(InputError, match="run_not_left"):
        reopened.runner.controller.unfinished_runs.resume(reopened.scene.nodes)


def test_edits_locks_and_names_made_after_the_crash_are_respected(
    reopened: Reopened, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = reopened.scene, reopened.runner
    kept, removed = scene.ids
    index = scene.between[1]
    mask = scene.array(kept)
    mask[index, 3:7, 2:6] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, kept, scene.volume_node)
    segmentation = scene.node.GetSegmentation()
    segmentation.AddEmptySegment("locked", "locked")
    locked = np.zeros_like(mask)
    locked[scene.between[2]] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(locked.astype(np.uint8), scene.node, "locked", scene.volume_node)
    set_locked(segmentation.GetSegment("locked"), True)
    segmentation.GetSegment(kept).SetName("renamed")
    segmentation.RemoveSegment(removed)
    runner.controller.unfinished_runs.resume(scene.nodes)
    runner.to_end()
    expected = undisturbed[kept].copy()
    expected[index] = mask[index]
    expected[scene.between[2]] = False
    np.testing.assert_array_equal(scene.array(kept), expected)
    np.testing.assert_array_equal(scene.array("locked"), locked)
    assert segmentation.GetSegment(kept).GetName() == "renamed"
    assert f"Removed during the run and not filled: {removed}." in runner.controller.warnings
    assert f"Slices painted during the run were left as they are: {index}." in runner.controller.warnings


def test_another_volume_is_refused_and_the_run_is_kept(reopened: Reopened) -> None:
    scene, runner = reopened.scene, reopened.runner
    array = slicer.util.arrayFromVolume(scene.volume_node).copy()
    slicer.util.updateVolumeFromArray(scene.volume_node, np.ascontiguousarray(array[::-1]))
    with pytest.raises(InputError, match="volume_changed"):
        runner.controller.unfinished_runs.resume(scene.nodes)
    assert runner.controller.state is State.IDLE
    assert runner.controller.unfinished_runs.find(scene.node) is not None
    slicer.util.updateVolumeFromArray(scene.volume_node, array)
    runner.controller.unfinished_runs.commit(scene.nodes)
    runner.to_end()
    _require_no_unfinished_run(reopened)


def test_a_volume_loaded_again_replaces_the_removed_one(reopened: Reopened) -> None:
    scene, runner = reopened.scene, reopened.runner
    slicer.mrmlScene.RemoveNode(scene.volume_node)
    with pytest.raises(InputError, match="run_volume_missing"):
        runner.controller.unfinished_runs.commit(ChosenNodes(None, scene.node))
    volume_node = scene_cases.add_volume(scene.case.volume)
    runner.controller.unfinished_runs.commit(ChosenNodes(volume_node, scene.node))
    runner.to_end()
    assert runner.controller.message == f"Stopped; {FINISHED} slices filled."


@pytest.mark.parametrize("keep", [True, False])
def test_an_unfinished_run_that_is_being_resumed_can_be_kept_or_cancelled(reopened: Reopened, keep: bool) -> None:
    controller, before = reopened.runner.controller, reopened.scene.arrays()
    controller.unfinished_runs.resume(reopened.scene.nodes)
    assert controller.state is State.PREPARING
    controller.cancel(keep)
    reopened.runner.to_end()
    if keep:
        assert controller.message == f"Stopped; {FINISHED} slices filled."
    else:
        assert all_equal(reopened.scene.arrays(), before)
    _require_no_unfinished_run(reopened)


@pytest.mark.parametrize("damage", ["run.json", "job.json", "layers/0/result.npy", "layers/0/finished.npy"])
def test_a_damaged_run_is_not_offered(reopened: Reopened, damage: str) -> None:
    (unfinished,) = reopened.store.interrupted()
    file = reopened.store.folder / unfinished.run_id / damage
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert reopened.runner.controller.unfinished_runs.find(reopened.scene.node) is None
    with pytest.raises(InputError, match="cannot be read"):
        reopened.runner.controller.unfinished_runs.resume(reopened.scene.nodes)
    assert reopened.runner.controller.state is State.IDLE


def _running(runs: Runs, gate: Gate) -> tuple[Scene, Runner]:
    """A run whose first slices are finished."""
    scene = scene_of(case(crashing_host.CASE))
    runner = runs(scene)
    gate.allow(FINISHED)
    runner.start()
    runner.until(lambda: runner.shown() == FINISHED)
    return scene, runner


def test_a_run_continues_after_its_scene_was_closed_and_opened_again(
    runs: Runs, gate: Gate, tmp_path: Path, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = _running(runs, gate)
    save_scene(tmp_path / "scene" / "scene.mrml")
    mrml.clear_scene()
    assert runner.controller.state is State.IDLE
    wait_for(lambda: not active_runs(runs.store))
    runner.scene = scene = _opened(tmp_path / "scene" / "scene.mrml", scene)
    runner.undo_logic.SetSegmentEditorNode(scene.editor_node)
    gate.open()
    assert runner.controller.unfinished_runs.find(scene.node) is not None
    runner.controller.unfinished_runs.resume(scene.nodes)
    runner.to_end()
    assert all_equal(scene.arrays(), undisturbed)


def test_a_run_of_a_closed_controller_can_be_resumed_by_another(
    runs: Runs, gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = _running(runs, gate)
    runner.controller.close()
    wait_for(lambda: not active_runs(runs.store))
    gate.open()
    other = runs(scene)
    other.controller.unfinished_runs.resume(scene.nodes)
    other.to_end()
    assert all_equal(scene.arrays(), undisturbed)


def test_a_running_fill_can_be_neither_resumed_nor_deleted_by_another_controller(runs: Runs, gate: Gate) -> None:
    scene, runner = _running(runs, gate)
    other = runs(scene)
    assert other.controller.unfinished_runs.find(scene.node) is None
    with pytest.raises(InputError, match="run_not_left"):
        other.controller.unfinished_runs.resume(scene.nodes)
    other.controller.unfinished_runs.delete(scene.node)
    gate.open()
    runner.to_end()
    assert runner.controller.message == f"{len(scene.between)} slices filled."


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_new_fill_replaces_an_unfinished_run_once_it_is_committed(reopened: Reopened, cancelled: bool) -> None:
    scene, runner = reopened.scene, reopened.runner
    unfinished = runner.controller.unfinished_runs.find(scene.node)
    assert unfinished is not None
    runner.start()
    assert scene.node.GetAttribute(RUN_ATTRIBUTE) != unfinished.run_id
    if cancelled:
        runner.controller.cancel(keep=False)
        assert runner.controller.unfinished_runs.find(scene.node) == unfinished
    else:
        runner.to_end()
        _require_no_unfinished_run(reopened)


def test_a_run_ended_by_a_changed_volume_can_be_resumed_once_the_volume_is_restored(
    runs: Runs, gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = _running(runs, gate)
    array = slicer.util.arrayFromVolume(scene.volume_node).copy()
    slicer.util.updateVolumeFromArray(scene.volume_node, np.ascontiguousarray(array[::-1]))
    gate.open()
    runner.to_end()
    assert "changed during the run" in runner.controller.message
    slicer.util.updateVolumeFromArray(scene.volume_node, array)
    wait_for(lambda: not active_runs(runs.store))
    runner.controller.unfinished_runs.resume(scene.nodes)
    runner.to_end()
    assert all_equal(scene.arrays(), undisturbed)


def test_finished_and_cancelled_runs_leave_no_files(runs: Runs) -> None:
    scene = scene_of(case(crashing_host.CASE))
    runner = runs(scene)
    runner.fill()
    runner.start()
    runner.controller.cancel(keep=False)
    wait_for(lambda: not active_runs(runs.store))
    assert runs.store.interrupted() == []
    assert RunReference.read(scene.node) == RunReference()


def test_an_unfinished_run_stays_with_the_original_of_a_copied_segmentation(runs: Runs, gate: Gate) -> None:
    scene, runner = _running(runs, gate)
    copy: Any = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(scene.node)
    assert runner.controller.unfinished_runs.find(copy) is None
    gate.open()
    runner.to_end()
    assert runner.controller.unfinished_runs.find(copy) is None
    assert runner.controller.message == f"{len(scene.between)} slices filled."
