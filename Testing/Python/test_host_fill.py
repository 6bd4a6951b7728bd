"""A fill through the controller: real MRML, the real worker, real volumes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.dice import dice
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.host.annotation.record_store import read_record
from fewshot_annotate.host.annotation.snapshot import Selection, select
from fewshot_annotate.host.annotation.survey import Survey
from fewshot_annotate.host.fill.preview import PREVIEW_ATTRIBUTE
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.jobs.planning import FillRequest, plan
from fewshot_annotate.jobs.process import run_in_worker
from support import scene_cases
from support.labels import OBLIQUE
from support.run_folders import create_folder, result_of
from support.scene_cases import Gate, Runs, all_equal, case, scene_of

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

CASES = ("ct_vertebrae", "mr_spine_cord_t2", "ct_liver", "mr_cardiac_sax", "mic_ovule_cells")


def _preview() -> Any:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)), None)


def _displays() -> int:
    return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode")


def _headless(scene: scene_cases.Scene, folder: Path, slices: str = "between") -> dict[str, np.ndarray]:
    """Result of the same fill without a scene, as the command line computes it."""
    labels = scene_cases.label_map_of(scene.painted(), scene.case.volume)
    (run,) = plan(
        FillRequest(
            volume=scene.case.volume, layers=[labels], axis=scene.axis, labelled_slices=scene.labelled, slices=slices
        )
    )
    job = create_folder(folder, run.job, scene.case.volume, run.support)
    run_in_worker(job, lambda event: None)
    array, _ = result_of(job)
    return {name: array == value for value, name in enumerate(scene.ids, start=1)}


@pytest.fixture(scope="module")
def complete_result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Result of an undisturbed fill of the vertebrae; do not change it."""
    return _headless(scene_of(case("ct_vertebrae")), tmp_path_factory.mktemp("complete") / "job")


@pytest.mark.parametrize("name", CASES)
def test_a_fill_keeps_painted_slices_and_equals_the_headless_result(runs: Runs, tmp_path: Path, name: str) -> None:
    scene = scene_of(case(name))
    runs(scene).fill()
    result = scene.arrays()
    assert all_equal(result, _headless(scene, tmp_path / "headless"))
    for segment_id, truth in scene.case.masks.items():
        np.testing.assert_array_equal(result[segment_id][scene.labelled], truth[scene.labelled])
        assert dice(truth[scene.between], result[segment_id][scene.between], True) > 0.6


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_array_axis_of_an_oblique_anisotropic_volume_is_filled(runs: Runs, tmp_path: Path, axis: int) -> None:
    original = case("ct_vertebrae")
    geometry = replace(
        original.volume.geometry, spacing=(0.7, 1.3, 2.9), origin=(-17.25, 33.1, -204.7), direction=OBLIQUE
    )
    scene = scene_of(replace(original, volume=Volume(original.volume.array, geometry)), axis)
    runs(scene).fill()
    assert all_equal(scene.arrays(), _headless(scene, tmp_path / "headless"))
    filled = [scene.axis.slices(mask)[scene.between].any() for mask in scene.arrays().values()]
    assert all(filled)


def test_slices_outside_the_painted_range_are_filled_on_request(runs: Runs, tmp_path: Path) -> None:
    original = case("ct_vertebrae")
    scene = scene_of(original)
    scene.labelled = scene.labelled[2:-2]
    for segment_id, mask in scene.painted().items():
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), scene.node, segment_id, scene.volume_node
        )
    runs(scene).fill(slices=range(len(original.volume.array)))
    assert all_equal(scene.arrays(), _headless(scene, tmp_path / "headless", "all"))
    assert any(mask[scene.labelled[0] - 1].any() for mask in scene.arrays().values())


@pytest.mark.usefixtures("reused_runs")
def test_a_fill_is_one_undo_step_that_restores_everything(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    segmentation = scene.node.GetSegmentation()
    before, layers = scene.arrays(), segmentation.GetNumberOfLayers()
    runner = runs(scene)
    runner.fill()
    assert runner.undo_states_saved == 1
    assert not all_equal(scene.arrays(), before)
    runner.undo_logic.Undo()
    assert all_equal(scene.arrays(), before)
    assert segmentation.GetNumberOfLayers() == layers
    assert list(segmentation.GetSegmentIDs()) == scene.ids


def test_slices_appear_in_the_preview_and_the_segmentation_changes_once_at_the_end(runs: Runs, gate: Gate) -> None:
    scene = scene_of(case("ct_liver", 1), step=6)
    (segment_id,) = scene.ids
    displays = _displays()
    changes: list[str] = []
    scene.node.GetSegmentation().AddObserver(
        slicer.vtkSegmentation.SourceRepresentationModified, lambda *_: changes.append(runner.controller.state.name)
    )
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    for count in (1, 4):
        gate.allow(count)
        runner.until(lambda count=count: runner.shown() == count)
        runner.controller.run.preview.redraw(now=True)
        shown = slicer.util.arrayFromSegmentBinaryLabelmap(_preview(), "Preview_0_1", scene.volume_node) > 0
        assert np.count_nonzero(shown.any(axis=(1, 2))) == count
        assert not changes
        assert all_equal(scene.arrays(), before)
    gate.open()
    runner.to_end()
    assert set(changes) == {"FINISHING"}
    assert _preview() is None
    assert _displays() == displays
    previewed = shown.any(axis=(1, 2))
    np.testing.assert_array_equal(scene.array(segment_id)[previewed], shown[previewed])


def test_the_preview_is_hidden_from_selectors_not_saved_and_follows_the_transform(runs: Runs, gate: Gate) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    runner.start()
    gate.allow(1)
    runner.until(lambda: runner.shown() == 1)
    node = _preview()
    assert node.GetHideFromEditors()
    slicer.mrmlScene.SetSaveToXMLString(1)
    slicer.mrmlScene.Commit()
    saved = slicer.mrmlScene.GetSceneXMLString()
    assert scene.node.GetID() in saved
    for unsaved in (node, node.GetDisplayNode()):
        assert f'id="{unsaved.GetID()}"' not in saved
    assert "preview" not in saved.lower()
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert not hierarchy.GetItemByDataNode(node)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    for data in (scene.node, scene.volume_node):
        data.SetAndObserveTransformNodeID(transform.GetID())
    gate.open()
    runner.until(lambda: runner.controller.state is not State.RUNNING or node.GetParentTransformNode() is transform)
    assert node.GetParentTransformNode() is transform
    runner.to_end()
    assert runner.controller.error is None


def test_overlapping_painted_segments_stay_in_their_layers(runs: Runs) -> None:
    original = case("ct_vertebrae")
    masks = dict(original.masks)
    masks["both"] = np.logical_or.reduce(list(masks.values()))
    scene = scene_of(replace(original, masks=masks))
    assert scene.node.GetSegmentation().GetNumberOfLayers() == 2
    runs(scene).fill()
    assert scene.node.GetSegmentation().GetNumberOfLayers() == 2
    result = scene.arrays()
    for name, truth in masks.items():
        np.testing.assert_array_equal(result[name][scene.labelled], truth[scene.labelled])
        assert result[name][scene.between].any()
    assert (result["both"] & result[next(iter(masks))])[scene.between].any()


def test_an_empty_slice_marked_as_labelled_ends_the_segment(runs: Runs) -> None:
    original = case("ct_vertebrae", 1)
    scene = scene_of(original, step=5)
    (segment_id,) = scene.ids
    last = scene.labelled[-1]
    assert last + 4 < len(original.volume.array)
    empty = last + 2
    runs(scene).fill(labelled=[*scene.labelled, empty], slices=range(scene.labelled[0], empty + 3))
    result = scene.array(segment_id)
    assert not result[empty].any()
    assert not result[empty + 1 :].any()


def test_cancel_changes_nothing(runs: Runs, gate: Gate) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before, displays = scene.arrays(), _displays()
    modified_time = scene.node.GetSegmentation().GetMTime()
    runner = runs(scene)
    runner.start()
    gate.allow(3)
    runner.until(lambda: runner.shown() == 3)
    runner.controller.cancel(keep=False)
    assert runner.controller.state is State.IDLE
    assert runner.controller.message == "Cancelled; nothing was changed."
    assert scene.node.GetSegmentation().GetMTime() == modified_time
    assert all_equal(scene.arrays(), before)
    assert runner.undo_states_saved == 0
    assert _preview() is None
    assert _displays() == displays


@pytest.mark.parametrize("keep", [False, True])
def test_cancel_while_preparing_ends_the_run_at_once(runs: Runs, keep: bool) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    assert runner.controller.state is State.PREPARING
    runner.controller.cancel(keep)
    assert runner.controller.state is State.IDLE
    assert all_equal(scene.arrays(), before)


def test_stop_keeps_the_finished_slices_and_no_others(
    complete_result: dict[str, np.ndarray], runs: Runs, gate: Gate
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    gate.allow(3)
    runner.start()
    runner.until(lambda: runner.shown() == 3 and gate.holds_after(3))
    runner.controller.cancel(keep=True)
    gate.allow(4)  # the worker stops after its current slice
    runner.to_end()
    result = scene.arrays()
    kept = [i for i in scene.between if any(mask[i].any() for mask in result.values())]
    assert kept == scene.between[:4]
    for name in scene.ids:
        np.testing.assert_array_equal(result[name][kept], complete_result[name][kept])
    assert runner.controller.message == "Stopped; 4 slices filled."
    assert runner.undo_states_saved == 1


@pytest.mark.parametrize("end", ["keep", "cancel", "resume"])
def test_a_killed_worker_loses_no_finished_slice(
    complete_result: dict[str, np.ndarray], runs: Runs, gate: Gate, end: str
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    gate.allow(3)
    runner.start()
    runner.until(lambda: runner.shown() == 3)
    runner.controller.run.process.kill()
    runner.until(lambda: runner.controller.state is State.STOPPED)
    assert "ended" in runner.controller.message
    assert runner.controller.message.endswith("finished slices are kept; press Resume to go on.")
    assert all_equal(scene.arrays(), before)
    gate.open()
    if end == "resume":
        runner.controller.resume()
        runner.to_end()
        assert all_equal(scene.arrays(), complete_result)
    elif end == "keep":
        runner.controller.cancel(keep=True)
        runner.to_end()
        kept = [i for i in scene.between if any(mask[i].any() for mask in scene.arrays().values())]
        assert kept == scene.between[:3]
    else:
        runner.controller.cancel(keep=False)
        assert runner.controller.state is State.IDLE
        assert all_equal(scene.arrays(), before)


def test_a_deleted_job_folder_stops_the_run(runs: Runs, gate: Gate) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    gate.allow(1)
    runner.until(lambda: runner.shown() == 1)
    for file in Path(runner.controller.run.folder.path, "layers", "0").iterdir():
        file.unlink()
    gate.open()
    runner.until(lambda: runner.controller.state is not State.RUNNING)
    runner.controller.cancel(keep=False)
    assert all_equal(scene.arrays(), before)


def test_a_second_fill_is_refused_while_one_runs(runs: Runs, gate: Gate) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    runner.start()
    for state in (State.PREPARING, State.RUNNING):
        runner.until(lambda state=state: runner.controller.state is state)
        with pytest.raises(InputError, match="run_active"):
            runner.start()
    gate.open()
    runner.to_end()
    assert runner.controller.error is None


def test_a_second_fill_replaces_filled_voxels_and_keeps_painted_ones(runs: Runs, tmp_path: Path) -> None:
    original = case("ct_vertebrae")
    scene = scene_of(original)
    runner = runs(scene)
    runner.fill()
    first = scene.arrays()
    corrected = scene.labelled[1] + 1
    truth = {name: mask.copy() for name, mask in first.items()}
    for name, mask in original.masks.items():
        truth[name][corrected] = mask[corrected]
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            truth[name].astype(np.uint8), scene.node, name, scene.volume_node
        )
    scene.labelled = sorted([*scene.labelled, corrected])
    runner.fill()
    result = scene.arrays()
    assert all_equal(result, _headless(scene, tmp_path / "headless"))
    assert not all_equal(result, truth)


@pytest.mark.usefixtures("reused_runs")
def test_a_correction_of_a_filled_slice_counts_as_painted_from_then_on(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner, survey = runs(scene), Survey()
    runner.fill()
    found = _surveyed(survey, scene)
    assert list(found.labelled) == scene.labelled

    name, index = scene.ids[0], scene.labelled[1] + 1
    filled = scene.arrays()
    corrected = filled[name].copy()
    corrected[index, 5:9, 5:9] ^= True
    runner.undo_logic.SaveStateForUndo()
    slicer.util.updateSegmentBinaryLabelmapFromArray(corrected.astype(np.uint8), scene.node, name, scene.volume_node)
    found = _surveyed(survey, scene)
    assert list(found.labelled) == sorted([*scene.labelled, index])
    runner.fill(labelled=found.labelled)
    np.testing.assert_array_equal(scene.array(name)[index], corrected[index])
    assert index in read_record(scene.node).present.labelled
    survey.close()


@pytest.mark.usefixtures("reused_runs")
def test_an_undone_fill_leaves_no_slice_that_counts_as_painted(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner, survey = runs(scene), Survey()
    for _ in range(2):  # the second run changes nothing, so it adds no undo step
        runner.fill()
        runner.undo_logic.Undo()
        assert list(_surveyed(survey, scene).labelled) == scene.labelled
        runner.undo_logic.Redo()
        assert list(_surveyed(survey, scene).labelled) == scene.labelled
    survey.close()


@pytest.mark.usefixtures("reused_runs")
def test_a_removed_segment_does_not_mark_every_slice_as_corrected(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner, survey = runs(scene), Survey()
    runner.fill()
    scene.node.GetSegmentation().RemoveSegment(scene.ids[0])
    assert list(_surveyed(survey, scene).labelled) == scene.labelled
    survey.close()


def _surveyed(survey: Survey, scene: scene_cases.Scene) -> Selection:
    survey.request(0.0)
    while not survey.poll(scene.nodes):
        time.sleep(0.001)
    record = read_record(scene.node)
    checksums = survey.result.checksums_for(record)
    return select(survey.extents, record, survey.grid.geometry.shape, checksums=checksums)


def test_the_axis_of_a_run_is_a_slice_axis(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    with pytest.raises(InputError, match="Axis 3"):
        runs(scene).start(axis=SliceAxis(3))


def test_a_second_fill_without_changes_reports_that_the_result_is_the_same(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    runner.fill()
    filled = scene.arrays()
    runner.fill()
    assert runner.controller.warnings == ["Nothing was changed: the result is what is there already."]
    assert all_equal(scene.arrays(), filled)
    assert runner.undo_states_saved == 1
