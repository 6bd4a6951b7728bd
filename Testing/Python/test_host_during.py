"""Edits by the user while a run is under way: none is lost, and none breaks the run."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.host.annotation.record_store import read_record, write_record
from fewshot_annotate.host.fill import run_commit
from fewshot_annotate.host.fill.preview import PREVIEW_ATTRIBUTE
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.fill.saved_segmentation import ReferencedSegmentation
from fewshot_annotate.host.fill.surfaces.surface_run import ComputedCommit, compute_commit
from fewshot_annotate.host.mrml.reading import set_locked
from support import mrml
from support.scene_cases import Gate, Runner, Runs, Scene, all_equal, case, scene_of

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def running(runs: Runs, gate: Gate) -> tuple[Scene, Runner]:
    """A run whose first two slices are finished and whose third waits at the gate."""
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    gate.allow(2)
    runner.start()
    runner.until(lambda: runner.shown() == 2)
    return scene, runner


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, np.ndarray]:
    """Result of an undisturbed run."""
    scene = scene_of(case("ct_vertebrae"))
    runner = Runner(scene)
    runner.fill()
    runner.controller.close()
    return scene.arrays()


def _paint(scene: Scene, name: str, index: int) -> np.ndarray:
    """Paint a small square on a slice, in place of what was there. Returns the new voxels of the slice."""
    mask = scene.array(name)
    mask[index] = False
    mask[index, 3:7, 2:6] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, name, scene.volume_node)
    return mask[index]


def _end(gate: Gate, runner: Runner) -> None:
    gate.open()
    runner.to_end()


def _require_no_preview() -> None:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not [node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)]


def test_a_renamed_segment_is_filled_under_its_new_name(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = running
    segment = scene.node.GetSegmentation().GetSegment(scene.ids[0])
    segment.SetName("renamed")
    _end(gate, runner)
    assert segment.GetName() == "renamed"
    assert all_equal(scene.arrays(), undisturbed)


def test_an_added_segment_keeps_its_voxels(running: tuple[Scene, Runner], gate: Gate) -> None:
    scene, runner = running
    index = scene.between[0]
    added = np.zeros_like(scene.array(scene.ids[0]))
    added[index] = scene.case.masks[scene.ids[0]][index]
    assert added.any()
    scene.node.GetSegmentation().AddEmptySegment("added", "added")
    slicer.util.updateSegmentBinaryLabelmapFromArray(added.astype(np.uint8), scene.node, "added", scene.volume_node)
    _end(gate, runner)
    np.testing.assert_array_equal(scene.array("added"), added)
    for name in scene.ids:
        assert not (scene.array(name) & added)[index].any()


def test_a_deleted_segment_is_left_out_with_a_warning(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = running
    removed, kept = scene.ids
    scene.node.GetSegmentation().RemoveSegment(removed)
    _end(gate, runner)
    np.testing.assert_array_equal(scene.array(kept)[scene.labelled], scene.case.masks[kept][scene.labelled])
    assert scene.array(kept)[scene.between].any()
    assert runner.controller.error is None
    assert f"Removed during the run and not filled: {removed}." in runner.controller.warnings


def test_without_any_segment_left_no_slice_is_filled(running: tuple[Scene, Runner], gate: Gate) -> None:
    scene, runner = running
    scene.node.GetSegmentation().RemoveAllSegments()
    _end(gate, runner)
    assert runner.controller.message == "0 slices filled."
    assert runner.controller.warnings == [f"Removed during the run and not filled: {', '.join(scene.ids)}."]
    assert read_record(scene.node).present.filled == ()


def test_another_segmentation_with_the_same_segments_is_left_alone(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = running
    other = mrml.add_segmentation(scene.volume_node, scene.painted(), "Other")
    before = {name: mrml.segment_array(other, name) for name in scene.ids}
    scene.editor_node.SetAndObserveSegmentationNode(other)
    _end(gate, runner)
    assert all_equal(scene.arrays(), undisturbed)
    assert all_equal({name: mrml.segment_array(other, name) for name in scene.ids}, before)


def test_a_hidden_segment_is_filled_and_stays_hidden(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = running
    display = scene.node.GetDisplayNode()
    display.SetSegmentVisibility(scene.ids[0], False)
    _end(gate, runner)
    assert all_equal(scene.arrays(), undisturbed)
    assert not display.GetSegmentVisibility(scene.ids[0])


def test_a_segment_locked_during_the_run_is_not_filled(running: tuple[Scene, Runner], gate: Gate) -> None:
    scene, runner = running
    locked, other = scene.ids
    before = scene.array(locked)
    set_locked(scene.node.GetSegmentation().GetSegment(locked), True)
    _end(gate, runner)
    np.testing.assert_array_equal(scene.array(locked), before)
    assert scene.array(other)[scene.between].any()


@pytest.mark.parametrize("progress", ["not yet filled", "already filled"])
def test_a_slice_painted_during_the_run_stays_as_the_user_painted_it(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray], progress: str
) -> None:
    scene, runner = running
    index = scene.between[0] if progress == "already filled" else scene.between[-1]
    painted = _paint(scene, scene.ids[0], index)
    _end(gate, runner)
    result = scene.arrays()
    np.testing.assert_array_equal(result[scene.ids[0]][index], painted)
    assert not result[scene.ids[1]][index].any()
    for name in scene.ids:
        result[name][index] = undisturbed[name][index]
    assert all_equal(result, undisturbed)
    assert f"Slices painted during the run were left as they are: {index}." in runner.controller.warnings
    assert index in read_record(scene.node).present.labelled


def test_a_painted_slice_corrected_during_the_run_keeps_the_correction(
    running: tuple[Scene, Runner], gate: Gate
) -> None:
    scene, runner = running
    index = scene.labelled[1]
    painted = _paint(scene, scene.ids[0], index)
    _end(gate, runner)
    np.testing.assert_array_equal(scene.array(scene.ids[0])[index], painted)


def test_an_earlier_fill_undone_during_the_run_is_not_taken_for_paint(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    runner.fill()
    filled = scene.arrays()
    runner.start()
    runner.undo_logic.Undo()
    assert not any(mask[scene.between].any() for mask in scene.arrays().values())
    runner.to_end()
    assert all_equal(scene.arrays(), filled)
    assert not runner.controller.warnings
    assert read_record(scene.node).present.labelled == tuple(scene.labelled)


def test_a_filled_slice_erased_during_the_run_stays_empty(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner, index = runs(scene), scene.between[2]
    runner.fill()
    runner.start()
    for name in scene.ids:
        mask = scene.array(name)
        mask[index] = False
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, name, scene.volume_node)
    runner.to_end()
    assert not any(mask[index].any() for mask in scene.arrays().values())
    assert index in read_record(scene.node).present.labelled


def test_painting_while_the_run_is_being_prepared_is_kept(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    runner.start()
    painted = _paint(scene, scene.ids[0], scene.between[0])
    runner.to_end()
    np.testing.assert_array_equal(scene.array(scene.ids[0])[scene.between[0]], painted)


def _paint_in_place(scene: Scene, name: str, index: int) -> None:
    """One voxel painted into the labelmap's own memory, as the Segment Editor does within the labelmap's extent."""
    segment = scene.node.GetSegmentation().GetSegment(name)
    image = segment.GetRepresentation("Binary labelmap")
    extent = image.GetExtent()
    labels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(scene.node, name)
    labels[index - extent[4], 8 - extent[2], 3 - extent[0]] = segment.GetLabelValue()
    image.Modified()


def test_painting_in_place_while_the_run_is_being_prepared_is_kept(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    name, index = scene.ids[0], scene.between[0]
    painted = _paint(scene, name, index)  # so that the labelmap's extent includes this slice
    runner = runs(scene)
    runner.start()
    _paint_in_place(scene, name, index)
    painted[8, 3] = True
    runner.to_end()
    np.testing.assert_array_equal(scene.array(name)[index], painted)


@pytest.mark.parametrize("in_place", [False, True])
def test_painting_while_the_changes_are_computed_is_kept(
    running: tuple[Scene, Runner], gate: Gate, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, runner = running
    name, index = scene.ids[0], scene.between[0]
    computed = threading.Event()

    def compute(*inputs: Any) -> ComputedCommit:
        computed_commit = compute_commit(*inputs)
        computed.set()
        return computed_commit

    monkeypatch.setattr(run_commit, "compute_commit", compute)
    gate.open()
    runner.until(lambda: runner.controller.state is State.FINISHING)
    runner.controller.poll()
    assert computed.wait(60)
    if in_place:
        _paint_in_place(scene, name, index)
    else:
        _paint(scene, name, index)
    painted = scene.array(name)[index]
    assert painted.any()
    runner.to_end()
    np.testing.assert_array_equal(scene.array(name)[index], painted)


def test_painting_just_before_the_changes_are_written_is_kept(
    running: tuple[Scene, Runner], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, runner = running
    name, index = scene.ids[0], scene.between[0]
    saved: list[ReferencedSegmentation] = []

    def save(node: Any) -> ReferencedSegmentation:
        saved.append(ReferencedSegmentation(node))
        return saved[-1]

    monkeypatch.setattr(run_commit, "ReferencedSegmentation", save)
    gate.open()
    runner.until(lambda: bool(saved))
    painted = _paint(scene, name, index)
    runner.to_end()
    assert len(saved) == 2
    np.testing.assert_array_equal(scene.array(name)[index], painted)


@pytest.mark.parametrize("axis", [None, 0])
def test_a_slice_marked_as_labelled_and_empty_stays_empty(
    running: tuple[Scene, Runner], gate: Gate, axis: int | None
) -> None:
    """Otherwise it would count as painted with the voxels of the fill."""
    scene, runner = running
    index = scene.between[1]
    write_record(scene.node, read_record(scene.node).with_axis(axis).with_slice(index, True))
    _end(gate, runner)
    assert not any(mask[index].any() for mask in scene.arrays().values())
    assert any(mask[scene.between[0]].any() for mask in scene.arrays().values())
    assert index in read_record(scene.node).present.labelled
    assert f"Slices painted during the run were left as they are: {index}." in runner.controller.warnings


@pytest.mark.parametrize("action", ["nothing", "discard", "suspend", "close", "volume removed"])
def test_a_written_fill_is_complete_whatever_the_user_does_next(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray], action: str
) -> None:
    scene, runner = running
    controller, committed = runner.controller, []
    before = scene.arrays()
    controller.committed.connect(lambda outcome: committed.append(outcome.segmentation_id))
    gate.open()
    runner.until(lambda: controller.commit.written)
    assert controller.state is State.FINISHING
    assert all_equal(scene.arrays(), undisturbed)
    if action == "discard":
        controller.cancel(keep=False)
    elif action == "suspend":
        controller.suspend()
    elif action == "close":
        controller.close()
    elif action == "volume removed":
        slicer.mrmlScene.RemoveNode(scene.volume_node)
    if action != "close":
        runner.to_end()
    assert controller.state is State.IDLE
    assert "slices filled" in controller.message
    assert committed == [scene.node.GetID()]
    assert controller.unfinished_runs.find(scene.node) is None
    assert runner.undo_states_saved == 1
    if action == "volume removed":  # its grid is needed to read the segments
        return
    assert all_equal(scene.arrays(), undisturbed)
    runner.undo_logic.Undo()
    assert all_equal(scene.arrays(), before)
    _require_no_preview()


def test_an_undo_during_the_run_is_kept(runs: Runs, gate: Gate, undisturbed: dict[str, np.ndarray]) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    before = scene.arrays()
    runner.undo_logic.SaveStateForUndo()
    _paint(scene, scene.ids[0], scene.labelled[-1])
    runner.start(labelled=scene.labelled)
    gate.allow(1)
    runner.until(lambda: runner.shown() == 1)
    runner.undo_logic.Undo()
    assert all_equal(scene.arrays(), before)
    _end(gate, runner)
    for name in scene.ids:
        np.testing.assert_array_equal(scene.array(name)[scene.labelled], undisturbed[name][scene.labelled])
    runner.undo_logic.Undo()
    assert all_equal(scene.arrays(), before)


@pytest.mark.parametrize("state", [State.PREPARING, State.RUNNING, State.STOPPED])
@pytest.mark.parametrize("removed", ["segmentation", "volume"])
def test_a_removed_node_ends_the_run_with_a_message(runs: Runs, gate: Gate, removed: str, state: State) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    runner.start()
    if state is not State.PREPARING:
        runner.until(lambda: runner.controller.state is State.RUNNING)
    if state is State.STOPPED:
        runner.controller.run.process.kill()
        runner.until(lambda: runner.controller.state is State.STOPPED)
    slicer.mrmlScene.RemoveNode(scene.node if removed == "segmentation" else scene.volume_node)
    runner.to_end()
    assert runner.controller.message == f"The {removed} was removed during the run; nothing was filled."
    _require_no_preview()


def test_changed_voxels_of_the_volume_are_detected(running: tuple[Scene, Runner], gate: Gate) -> None:
    scene, runner = running
    before = scene.arrays()
    frame = np.roll(scene.case.volume.array, 1, axis=0)
    slicer.util.updateVolumeFromArray(scene.volume_node, np.ascontiguousarray(frame))
    _end(gate, runner)
    assert runner.controller.message == (
        "The voxels of volume 'Volume' changed during the run (another time frame?); nothing was filled."
    )
    assert all_equal(scene.arrays(), before)
    _require_no_preview()


def test_a_volume_moved_relative_to_the_segmentation_is_detected(running: tuple[Scene, Runner], gate: Gate) -> None:
    scene, runner = running
    before = scene.arrays()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = 3.0
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    scene.volume_node.SetAndObserveTransformNodeID(transform.GetID())
    _end(gate, runner)
    assert runner.controller.message == (
        "Spacing, position or size of volume 'Volume' relative to the segmentation changed during the run; "
        "nothing was filled."
    )
    scene.volume_node.SetAndObserveTransformNodeID(None)
    assert all_equal(scene.arrays(), before)


def test_a_changed_reference_geometry_is_detected(running: tuple[Scene, Runner], gate: Gate) -> None:
    scene, runner = running
    larger = mrml.add_volume(np.zeros((40, 60, 60), np.int16), (1, 1, 1), (0, 0, 0), name="Larger")
    scene.node.SetReferenceImageGeometryParameterFromVolumeNode(larger)
    _end(gate, runner)
    assert runner.controller.error is not None
    _require_no_preview()


def test_window_and_level_of_the_volume_do_not_matter(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = running
    scene.volume_node.GetDisplayNode().SetWindowLevel(10, 20)
    scene.volume_node.SetName("Renamed")
    _end(gate, runner)
    assert all_equal(scene.arrays(), undisturbed)


def test_the_editing_rules_at_the_end_of_the_run_apply(running: tuple[Scene, Runner], gate: Gate) -> None:
    scene, runner = running
    scene.editor_node.SetSourceVolumeIntensityMask(True)
    scene.editor_node.SetSourceVolumeIntensityMaskRange(1e9, 2e9)
    before = scene.arrays()
    _end(gate, runner)
    assert all_equal(scene.arrays(), before)
    assert runner.controller.warnings == ["Nothing was written: the mask, locks and other segments left no room."]
    assert runner.undo_states_saved == 0


def test_a_removed_preview_does_not_stop_the_run(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray]
) -> None:
    scene, runner = running
    slicer.mrmlScene.RemoveNode(runner.controller.run.preview.node)
    _end(gate, runner)
    assert all_equal(scene.arrays(), undisturbed)


@pytest.mark.parametrize("state", [State.PREPARING, State.RUNNING])
def test_a_closed_scene_ends_the_run(runs: Runs, gate: Gate, state: State) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    runner.start()
    runner.until(lambda: runner.controller.state is state)
    mrml.clear_scene()
    runner.to_end()
    assert runner.controller.state is State.IDLE
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 0


def test_a_commit_that_slicer_refuses_stops_the_run_and_can_be_repeated(
    running: tuple[Scene, Runner], gate: Gate, undisturbed: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, runner = running
    from fewshot_annotate.host.fill import commit

    def refuse(*_: object) -> None:
        raise RuntimeError("Slicer's segment editor did not write the filled voxels; undo and try again.")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "commit", refuse)
        gate.open()
        runner.until(lambda: runner.controller.state is State.STOPPED)
    assert "(RuntimeError, code " in runner.controller.message
    assert "The segmentation is as it was" in runner.controller.message
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert all_equal(scene.arrays(), undisturbed)


def test_a_closed_controller_leaves_no_worker_behind(running: tuple[Scene, Runner]) -> None:
    _, runner = running
    process = runner.controller.run.process
    runner.controller.close()
    assert process.wait(5)
    assert runner.controller.state is State.IDLE
    _require_no_preview()
