"""The overlay of *Show uncertainty*, drawn by Slicer's own slice view, against the confidence of the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import slicer
import vtk
from fewshot_annotate.cli import main
from fewshot_annotate.core.volume import Geometry, Volume
from fewshot_annotate.host.review.run_overlays import UNCERTAINTY_ATTRIBUTE
from support import mrml, slicer_standin
from support.panel import ARTIFACTS, Panel
from support.scene_cases import Scene, case, label_map_of, scene_of
from support.slice_view import SliceView, save_picture, slice_view

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

BOUNDS = (0.95, 0.8, 0.6)  # of the probability of a voxel's label, by level
MOVED = (30.0, -20.0, 10.0)  # by the transform that volume and segmentation are under, RAS in mm


def oblique_scene() -> Scene:
    """Painted vertebrae on an oblique grid, under a transform."""
    given = case("ct_vertebrae", 1)
    grid = Geometry(
        given.volume.geometry.shape, (1.1, 0.9, 2.5), (11.0, -22.0, 33.0), tuple(map(float, np.ravel(mrml.OBLIQUE)))
    )
    scene = scene_of(replace(given, volume=Volume(given.volume.array, grid)))
    matrix, transform = vtk.vtkMatrix4x4(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    for row, offset in enumerate(MOVED):
        matrix.SetElement(row, 3, offset)
    transform.SetMatrixTransformToParent(matrix)
    for node in (scene.volume_node, scene.node):
        node.SetAndObserveTransformNodeID(transform.GetID())
    return scene


def confidence_of_the_command_line(scene: Scene, folder: Path) -> Any:
    """The probability of each voxel's label by the command `fill`, as SimpleITK reads it: an image in LPS."""
    grid = scene.case.volume.geometry
    painted = label_map_of(scene.painted(), scene.case.volume)
    for name, array in (("image.nrrd", scene.case.volume.array), ("painted.nrrd", painted.array)):
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction)
        SimpleITK.WriteImage(image, str(folder / name))
    paths = [str(folder / name) for name in ("image.nrrd", "painted.nrrd", "filled.nrrd", "confidence.nrrd")]
    image_path, painted_path, filled_path, confidence_path = paths
    command = ["fill", image_path, painted_path, "-o", filled_path, "--confidence", confidence_path]
    assert main([*command, "--engine", "propagate"]) == 0
    return SimpleITK.ReadImage(confidence_path)


def shown_levels() -> dict[tuple[float, ...], int]:
    """Point of the world, LPS in mm, of every voxel of the overlay -> its level, by Slicer's own functions."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    (overlay,) = [node for node in nodes if node.GetAttribute(UNCERTAINTY_ATTRIBUTE)]
    found = {}
    for level in (1, 2, 3):
        image = slicer.vtkOrientedImageData()
        assert overlay.GetBinaryLabelmapRepresentation(f"{UNCERTAINTY_ATTRIBUTE}_{level}", image)
        i, j, k = image.GetDimensions()
        values = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        first = np.array(image.GetExtent()[::2])
        for voxel in np.argwhere(values > 0):
            point, world = matrix.MultiplyPoint((*(voxel[::-1] + first), 1.0)), [0.0, 0.0, 0.0]
            overlay.TransformPointToWorld(point[:3], world)
            found[tuple(np.round((-world[0], -world[1], world[2]), 3))] = level
    return found


def levels_at(confidence: Any, scene: Scene, lps: np.ndarray) -> np.ndarray:
    """Level at points of the world, LPS in mm, by the file of the command line; 0 on painted slices."""
    offset = np.array((-MOVED[0], -MOVED[1], MOVED[2]))
    result = np.zeros(len(lps), dtype=int)
    for number, point in enumerate(lps - offset):
        index = confidence.TransformPhysicalPointToIndex(point.tolist())
        inside = all(0 <= value < size for value, size in zip(index, confidence.GetSize(), strict=True))
        if inside and index[2] in scene.between:
            result[number] = sum(confidence[index] < bound for bound in BOUNDS)
    return result


def shown_in(view: SliceView, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a slice without and with the overlay."""
    section, review = panel.widget.reviewSection, panel.widget.logic.review
    without = view.picture()
    section.uncertainty_box.click()
    panel.until(lambda: review.overlays.uncertainty_shown)
    return without, view.picture()


@pytest.fixture
def panel(open_panel: Callable[..., Panel]) -> Panel:
    """The panel after a fill."""
    opened = open_panel(oblique_scene())
    opened.parameters.engine = "propagate"
    opened.fill()
    section = opened.widget.reviewSection
    opened.until(lambda: section.has_filled and not section.busy and section.uncertainty_box.enabled)
    return opened


def test_uncertainty_is_shown_at_the_position_where_the_command_line_finds_it(panel: Panel, tmp_path: Path) -> None:
    scene = panel.scene
    assert scene is not None
    confidence = confidence_of_the_command_line(scene, tmp_path)
    with slice_view(scene.volume_node) as view:
        middle = np.mean(confidence.GetSize()[:2]) / 2
        point = confidence.TransformContinuousIndexToPhysicalPoint((middle, middle, float(scene.between[2])))
        view.go_to(np.array((-point[0], -point[1], point[2])) + MOVED)
        without, picture = shown_in(view, panel)
        save_picture(ARTIFACTS / "uncertainty.png", without, picture)
        pixels = view.world() * (-1.0, -1.0, 1.0)
    levels = shown_levels()
    assert set(levels.values()) == {1, 2, 3}
    expected = levels_at(confidence, scene, np.array(list(levels)))
    np.testing.assert_array_equal(expected, list(levels.values()))
    everything = SimpleITK.GetArrayViewFromImage(confidence)[scene.between]
    assert len(levels) == np.count_nonzero(everything < BOUNDS[0])
    drawn = (picture != without).any(axis=2)
    expected_drawn = levels_at(confidence, scene, pixels.reshape(-1, 3)).reshape(drawn.shape)
    assert np.count_nonzero(drawn & (expected_drawn > 0)) > 0.9 * np.count_nonzero(drawn | (expected_drawn > 0))
    red, yellow = (picture[expected_drawn == level].mean(axis=0) for level in (3, 1))
    assert red[0] > 2 * red[1]
    assert yellow[1] > 1.3 * yellow[2]
    assert slicer_standin.slot_errors == []
