"""Labels of the scene are copied by a thread: without a pause, and all of one state although the user edits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry, Volume
from fewshot_annotate.evaluation.comparison_folder import ComparisonFolder
from fewshot_annotate.evaluation.design import TrialDesign
from fewshot_annotate.export.request import Target
from fewshot_annotate.host.comparison.controller import CompareController, CompareSettings, CompareState
from fewshot_annotate.host.export.controller import ExportController, ExportState
from fewshot_annotate.host.export.segmentation_copy import ExportSettings
from fewshot_annotate.host.mrml.reading import BINARY_LABELMAP, image_array, read_grid
from fewshot_annotate.host.tasks import BackgroundTasks
from fewshot_annotate.io.files import read_label_maps
from support import mrml, scene_cases
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


def busy_seconds(step: Callable[[], Any]) -> float:
    """Processor time of this thread in a step; other programs do not count."""
    began = time.thread_time()
    step()
    return time.thread_time() - began


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
