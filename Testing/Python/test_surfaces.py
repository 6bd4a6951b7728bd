"""Closed surfaces made in a separate process: the same as Slicer's, and set by the commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.host.fill import commit as commit_module
from fewshot_annotate.host.fill import run_commit
from fewshot_annotate.host.fill.changes import Box, Changes
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.fill.saved_segmentation import ReferencedSegmentation
from fewshot_annotate.host.fill.surfaces.conversion import SurfaceArrays, SurfaceSettings, closed_surface
from fewshot_annotate.host.fill.surfaces.folder import SurfaceFolder
from fewshot_annotate.host.fill.surfaces.representation import replaced_surfaces, surface_settings
from fewshot_annotate.host.fill.surfaces.surface_run import SurfaceProcess, masks_after
from fewshot_annotate.host.mrml.reading import CLOSED_SURFACE, ijk_to_ras, image_array, read_grid
from support import mrml, scene_cases
from support.scene_cases import Runs, Scene, case, scene_of

pytestmark = pytest.mark.usefixtures("forked_workers")

DIRECTION = (0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path)
    yield runs
    runs.finish()


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    scene_cases.require_quiet(capfd.readouterr())


@pytest.fixture(scope="module")
def node() -> Any:
    """Three segments on an oblique grid: two share a layer and touch the border, one voxel lies in one of its own."""
    mrml.new_scene()
    volume = mrml.add_volume(np.zeros((12, 14, 16), np.int16), (0.7, 0.8, 1.5), (3.0, -4.0, 5.0), DIRECTION, "v")
    k, j, i = np.indices((12, 14, 16))
    ball = (k - 5) ** 2 + (j - 6) ** 2 + (i - 4) ** 2 < 22
    masks = {"ball": ball, "corner": (k > 7) & (i > 7), "speck": (k == 5) & (j == 6) & (i == 4)}
    found = mrml.add_segmentation(volume, masks)
    found.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert found.GetSegmentation().GetNumberOfLayers() == 2
    return found


def slicers_surfaces(node: Any) -> dict[str, SurfaceArrays]:
    """Surface of each segment as Slicer itself converts it."""
    segmentation = slicer.vtkSegmentation()
    segmentation.DeepCopy(node.GetSegmentation())
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    segmentation.CreateRepresentation(CLOSED_SURFACE)
    return surfaces_of(segmentation)


def surfaces_of(segmentation: Any) -> dict[str, SurfaceArrays]:
    found = {name: segmentation.GetSegment(name).GetRepresentation(CLOSED_SURFACE) for name in ids(segmentation)}
    return {
        name: SurfaceArrays(*(array.copy() for array in vars(SurfaceArrays.of(surface)).values()))
        for name, surface in found.items()
    }


def ids(segmentation: Any) -> list[str]:
    return list(segmentation.GetSegmentIDs())


def require_equal(own: SurfaceArrays, expected: SurfaceArrays) -> None:
    np.testing.assert_array_equal(own.offsets, expected.offsets)
    np.testing.assert_array_equal(own.connectivity, expected.connectivity)
    np.testing.assert_allclose(own.points, expected.points, atol=1e-4)
    np.testing.assert_allclose(own.normals, expected.normals, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        SurfaceSettings(),
        SurfaceSettings(smoothing=0.0),
        SurfaceSettings(smoothing=0.3, normals=False),
        SurfaceSettings(decimation=0.6),
    ],
    ids=str,
)
def test_the_surface_of_a_mask_is_that_of_slicers_converter(node: Any, settings: SurfaceSettings) -> None:
    segmentation = node.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", str(settings.smoothing))
    segmentation.SetConversionParameter("Decimation factor", str(settings.decimation))
    segmentation.SetConversionParameter("Compute surface normals", str(int(settings.normals)))
    assert surface_settings(node) is None  # none is shown
    expected = slicers_surfaces(node)
    segmentation.CreateRepresentation(CLOSED_SURFACE)
    assert surface_settings(node) == settings
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    grid = read_grid(slicer.mrmlScene.GetFirstNodeByName("v"), node)
    for name, box in boxes_of(node).items():
        own = closed_surface(box.mask, box.first, ijk_to_ras(grid.geometry, grid.first), settings)
        assert len(own.points)
        require_equal(own, expected[name])
        require_equal(SurfaceArrays.of(own.poly_data()), expected[name])


def boxes_of(node: Any) -> dict[str, Box]:
    """Mask of each segment after a commit that changes nothing."""
    grid = read_grid(slicer.mrmlScene.GetFirstNodeByName("v"), node)
    whole = {name: mrml.segment_array(node, name) for name in ids(node.GetSegmentation())}
    return dict(masks_after(grid, Changes({name: Box((0, 0, 0), mask) for name, mask in whole.items()}, {})))


@pytest.mark.parametrize(("name", "value"), [("Joint smoothing", "1"), ("Conversion method", "1")])
def test_surfaces_of_another_method_are_left_to_slicer(name: str, value: str) -> None:
    scene = shown_scene()
    assert surface_settings(scene.node) is not None
    scene.node.GetSegmentation().SetConversionParameter(name, value)
    assert surface_settings(scene.node) is None


def shown_scene() -> Scene:
    scene = scene_of(case("ct_vertebrae"))
    block = np.zeros(scene.case.volume.geometry.shape, np.uint8)
    block[1:4, 1:4, 1:4] = 1
    scene.node.GetSegmentation().AddEmptySegment("other", "other")
    slicer.util.updateSegmentBinaryLabelmapFromArray(block, scene.node, "other", scene.volume_node)
    assert scene.node.CreateClosedSurfaceRepresentation()
    return scene


def test_masks_after_a_commit_hold_what_it_adds_and_not_what_it_removes() -> None:
    mrml.new_scene()
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 1:3, 2:4] = True
    volume = mrml.add_volume(np.zeros(mask.shape, np.int16), name="v")
    node = mrml.add_segmentation(volume, {"changed": mask, "emptied": mask, "other": mask})
    grid = read_grid(volume, node)
    add = {"changed": Box((2, 1, 2), np.ones((1, 1, 1), bool))}
    remove = {
        "changed": Box((1, 1, 2), np.ones((1, 1, 1), bool)),
        "emptied": Box((0, 0, 0), np.ones(mask.shape, bool)),
    }
    ((name, box),) = masks_after(grid, Changes(add, remove)).items()
    assert name == "changed"
    assert box.first == (1, 1, 2)
    assert box.mask.astype(int).tolist() == [[[0, 1], [1, 1]], [[1, 0], [0, 0]]]


def test_a_surface_that_is_damaged_or_missing_is_not_read(tmp_path: Path) -> None:
    box = Box((1, 2, 3), np.ones((2, 2, 2), bool))
    folder, names = SurfaceFolder.write(tmp_path / "surfaces", {"a": box}, (0, 0, 0), np.eye(4), SurfaceSettings())
    assert folder.read_surface(names["a"]) is None
    surface = closed_surface(folder.read_mask(names["a"]), (1, 2, 3), np.eye(4), SurfaceSettings())
    folder.write_surface(names["a"], surface)
    read = folder.read_surface(names["a"])
    assert read is not None
    require_equal(read, surface)
    points = tmp_path / "surfaces" / f"{names['a']}.points.npy"
    data = bytearray(points.read_bytes())
    data[-1] ^= 1
    points.write_bytes(data)
    assert folder.read_surface(names["a"]) is None


def test_the_surface_of_an_empty_mask_has_no_points(tmp_path: Path) -> None:
    surface = closed_surface(np.zeros((2, 2, 2), np.uint8), (0, 0, 0), np.eye(4), SurfaceSettings())
    folder = SurfaceFolder(tmp_path)
    folder.write_surface("empty", surface)
    read = folder.read_surface("empty")
    assert read is not None
    assert read.poly_data().GetNumberOfPoints() == 0


def test_the_committed_surfaces_are_those_of_the_process_and_equal_slicers(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = shown_scene()
    other = scene.node.GetSegmentation().GetSegment("other").GetRepresentation(CLOSED_SURFACE)
    supplied = []

    def recorded(*arguments: Any) -> Any:
        supplied.append(set(arguments[2]))
        return replaced_surfaces(*arguments)

    monkeypatch.setattr(commit_module, "replaced_surfaces", recorded)
    before = surfaces_of(scene.node.GetSegmentation())
    runner = runs(scene)
    runner.fill()
    assert supplied == [set(scene.ids)]
    after = surfaces_of(scene.node.GetSegmentation())
    for name, expected in slicers_surfaces(scene.node).items():
        require_equal(after[name], expected)
    assert all(len(after[name].points) > len(before[name].points) for name in scene.ids)
    assert scene.node.GetSegmentation().GetSegment("other").GetRepresentation(CLOSED_SURFACE) is other
    assert not runner.controller.warnings
    runner.undo_logic.Undo()
    for name, surface in surfaces_of(scene.node.GetSegmentation()).items():
        require_equal(surface, before[name])


@pytest.mark.slow
def test_paint_added_while_the_surfaces_are_made_is_in_the_surfaces(runs: Runs) -> None:
    scene = shown_scene()
    runner = runs(scene)
    runner.start()
    runner.until(lambda: runner.controller.state is State.FINISHING)
    runner.until(lambda: bool(list(Path(runs.store.folder).glob("*/surfaces/request.json"))))
    image = scene.node.GetSegmentation().GetSegment("other").GetRepresentation("Binary labelmap")
    image_array(image)[0, 0, 0] = 1
    image.Modified()
    scene.node.CreateClosedSurfaceRepresentation()
    runner.to_end()
    after = surfaces_of(scene.node.GetSegmentation())
    for name, expected in slicers_surfaces(scene.node).items():
        require_equal(after[name], expected)


@pytest.mark.parametrize("shown_before", [True, False])
def test_surfaces_shown_or_smoothed_otherwise_just_before_the_commit_are_made_by_the_process(
    runs: Runs, shown_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = shown_scene()
    segmentation = scene.node.GetSegmentation()
    if not shown_before:
        scene.node.RemoveClosedSurfaceRepresentation()
    ready: list[object] = []
    supplied: list[set[str]] = []

    def save(node: Any) -> ReferencedSegmentation:
        ready.append(node)
        return ReferencedSegmentation(node)

    def recorded(*arguments: Any) -> Any:
        supplied.append(set(arguments[2]))
        return replaced_surfaces(*arguments)

    monkeypatch.setattr(run_commit, "ReferencedSegmentation", save)
    monkeypatch.setattr(commit_module, "replaced_surfaces", recorded)
    runner = runs(scene)
    runner.start()
    runner.until(lambda: bool(ready))
    scene.node.RemoveClosedSurfaceRepresentation()
    segmentation.SetConversionParameter("Smoothing factor", "0.0")
    scene.node.CreateClosedSurfaceRepresentation()
    runner.to_end()
    assert supplied == [set(scene.ids)]
    after = surfaces_of(segmentation)
    for name, expected in slicers_surfaces(scene.node).items():
        require_equal(after[name], expected)


def test_without_the_process_slicer_makes_the_surfaces_with_a_warning(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = shown_scene()
    monkeypatch.setattr(SurfaceProcess, "script", tmp_path / "missing.py")
    runner = runs(scene)
    runner.fill()
    (warning,) = runner.controller.warnings
    assert warning.startswith("The surfaces shown in 3D could not be made in the background: ")
    after = surfaces_of(scene.node.GetSegmentation())
    for name, expected in slicers_surfaces(scene.node).items():
        require_equal(after[name], expected)
