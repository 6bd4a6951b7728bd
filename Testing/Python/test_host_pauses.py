"""Labels of the scene are copied by a thread: without a pause, and all of one state although the user edits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.datasets.case_files import CaseFiles
from fewshot_annotate.datasets.reviewed_case import ReviewedCase
from fewshot_annotate.evaluation.comparison_folder import ComparisonFolder
from fewshot_annotate.evaluation.design import TrialDesign
from fewshot_annotate.export.request import Target
from fewshot_annotate.host.comparison.controller import CompareController, CompareSettings, CompareState
from fewshot_annotate.host.datasets.case_images import CaseImages
from fewshot_annotate.host.datasets.case_nodes import add_case_nodes, remove_nodes
from fewshot_annotate.host.export.controller import ExportController, ExportState
from fewshot_annotate.host.export.segmentation_copy import ExportSettings
from fewshot_annotate.host.mrml.reading import BINARY_LABELMAP, image_array, read_grid
from fewshot_annotate.host.tasks import BackgroundTasks
from fewshot_annotate.io.files import read_label_maps
from support import mrml, scene_cases
from support.pauses import busy_seconds
from support.scene_cases import Case, Scene, scene_of

MAX_PAUSE_SECONDS = 0.05
LARGE = (300, 512, 512)
SETTINGS = CompareSettings(("propagate",), TrialDesign(sizes=(2,), draws=1, held_out=1))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))


@pytest.fixture
def exporting() -> Iterator[ExportController]:
    controller = ExportController(None)
    yield controller
    controller.close()


@pytest.fixture
def comparing() -> Iterator[CompareController]:
    controller = CompareController(mrml.new_scene(), "python")
    yield controller
    controller.close()


def cuboid(shape: tuple[int, int, int], step: int, margin: int = 8) -> Scene:
    """One segment in a volume, `margin` voxels from its border, painted on every `step`-th slice."""
    image = np.zeros(shape, dtype=np.int16)
    image[:, ::2] = 100
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(margin, size - margin) for size in shape)] = True
    return scene_of(Case(Volume(image, Geometry(shape, (1.0, 1.0, 1.0))), {"liver": mask}), step=step)


def edit(scene: Scene, row: int) -> None:
    """Erase a row of the segment on all slices, in the labelmap itself as the Segment Editor does."""
    image = scene.node.GetSegmentation().GetSegment("liver").GetRepresentation(BINARY_LABELMAP)
    image_array(image)[:, row] = 0
    image.GetPointData().GetScalars().Modified()
    image.Modified()


def write_nifti(folder: Path) -> ExportSettings:
    return ExportSettings(target=Target.NIFTI, output=folder / "labels.nii.gz")


def test_a_large_segmentation_is_exported_and_compared_without_a_pause(
    exporting: ExportController, comparing: CompareController, tmp_path: Path
) -> None:
    scene = cuboid(LARGE, 1, margin=1)
    steps = [busy_seconds(lambda: exporting.check(scene.nodes, write_nifti(tmp_path)))]
    while exporting.state is ExportState.CHECKING:
        steps.append(busy_seconds(exporting.poll))
    steps.append(busy_seconds(lambda: comparing.start(scene.nodes, SETTINGS)))
    for _ in range(20):
        steps.append(busy_seconds(comparing.poll))
    grid = read_grid(scene.volume_node, scene.node)
    copying = min(busy_seconds(lambda: grid.snapshot(["liver"])) for _ in range(3))
    assert max(steps) < min(MAX_PAUSE_SECONDS, copying / 2)


def test_a_large_case_is_shown_and_removed_without_a_pause() -> None:
    scene, geometry = mrml.new_scene(), Geometry(LARGE)
    intensities = np.arange(np.prod(LARGE), dtype=np.int16).reshape(LARGE)
    segments = tuple(Segment(value=value, name=str(value)) for value in (1, 2, 3, 4))
    labels = LabelMap(np.zeros(LARGE, np.uint8), geometry, segments)
    labels.array[10:290, 50:450, 50:450] = 1 + np.arange(280, dtype=np.uint8)[:, None, None] % 4
    case = reviewed(Volume(intensities, geometry), labels)
    images = CaseImages.of_case(case.volume, case.label_map)
    assert busy_seconds(lambda: show_and_remove(scene, case, images)) < MAX_PAUSE_SECONDS


def show_and_remove(scene: Any, case: ReviewedCase, images: CaseImages) -> None:
    remove_nodes(scene, add_case_nodes(scene, case, images))


def reviewed(volume: Volume, labels: LabelMap) -> ReviewedCase:
    return ReviewedCase(
        name="a",
        files=CaseFiles(Path("a")),
        image=Path("a.nii"),
        series="",
        volume=volume,
        label_map=labels,
        axis=SliceAxis(0),
        labelled=(),
        digests={},
    )


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "int64", "uint64", ">i2"])
def test_a_case_has_the_window_and_level_that_slicer_chooses(dtype: str) -> None:
    scene, shape = mrml.new_scene(), (6, 40, 50)
    intensities = np.random.default_rng(0).gamma(2.0, 20.0, shape).astype(dtype)
    intensities[0, 0, :3] = 255 if dtype == "uint8" else 20_000  # metal, which is no part of the window
    case = reviewed(Volume(intensities, Geometry(shape)), LabelMap(np.zeros(shape, np.uint8), Geometry(shape), ()))
    node = add_case_nodes(scene, case, CaseImages.of_case(case.volume, case.label_map)).volume
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), intensities)
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    chosen.CopyContent(node)
    chosen.CreateDefaultDisplayNodes()
    displays = [volume.GetDisplayNode() for volume in (node, chosen)]
    assert displays[1].GetAutoWindowLevel()
    assert not displays[0].GetAutoWindowLevel(), "Slicer would compute it in the main thread"
    window, level = displays[1].GetWindow(), displays[1].GetLevel()
    assert (displays[0].GetWindow(), displays[0].GetLevel()) == (window, level)
    assert displays[0].GetColorNodeID() == displays[1].GetColorNodeID()
    assert 50 < window < 1000


def test_an_export_is_of_the_labels_after_the_last_edit_during_their_copy(
    exporting: ExportController, tmp_path: Path
) -> None:
    scene = cuboid((24, 32, 40), 1)
    exporting.check(scene.nodes, write_nifti(tmp_path))
    for row in (8, 9, 10):
        edit(scene, row)
        exporting.poll()
    scene_cases.tick_until(exporting, lambda: exporting.state is not ExportState.CHECKING)
    checked = scene.array("liver")
    edit(scene, 14)  # after the copy: no part of this export
    exporting.export()
    scene_cases.tick_until(exporting, lambda: exporting.state is not ExportState.EXPORTING)
    assert exporting.report is not None
    assert exporting.report.verified
    (written,) = read_label_maps(tmp_path / "labels.nii.gz", scene.case.volume.geometry)
    np.testing.assert_array_equal(written.array > 0, checked)
    assert (checked != scene.array("liver")).any()


def test_a_comparison_is_of_the_labels_after_the_last_edit_during_their_copy(comparing: CompareController) -> None:
    scene = cuboid((24, 32, 40), 3)
    comparing.start(scene.nodes, SETTINGS)
    for row in (8, 9, 10):
        edit(scene, row)
        comparing.poll()
    scene_cases.tick_until(comparing, lambda: comparing.state is not CompareState.PREPARING)
    assert comparing.folder is not None
    _, compared = ComparisonFolder(comparing.folder.path).read()
    (support,) = compared.supports
    assert list(support.indices) == scene.labelled
    for index, mask in zip(support.indices, support.masks, strict=True):
        np.testing.assert_array_equal(mask > 0, scene.array("liver")[index])


def test_a_segmentation_that_cannot_be_read_any_more_during_its_copy_is_refused_in_a_line(
    exporting: ExportController, tmp_path: Path
) -> None:
    scene = cuboid((24, 32, 40), 1)
    exporting.check(scene.nodes, write_nifti(tmp_path))
    edit(scene, 8)
    scene.node.GetSegmentation().CreateRepresentation("Closed surface")
    scene.node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    scene_cases.tick_until(exporting, lambda: exporting.state is not ExportState.CHECKING)
    assert exporting.state is ExportState.FAILED
    assert exporting.error is not None
    assert exporting.error.code == "source_not_labelmap"


def test_a_copy_is_repeated_until_nothing_has_changed_meanwhile() -> None:
    tasks, voxels, copies = BackgroundTasks("test"), [0], []
    tasks.start_copy(lambda: lambda: list(voxels), lambda: voxels[0], copies.append)
    for _ in range(4):
        voxels[0] += 1
        tasks.poll()
    while tasks.busy:
        tasks.poll()
    assert copies == [[4]]
    with pytest.raises(InputError):
        tasks.start_copy(refuse, lambda: 0, copies.append)
    tasks.close()


def refuse() -> Callable[[], None]:
    raise InputError("node_empty", name="CT")
