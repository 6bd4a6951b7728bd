"""Export of a segmentation of the scene, on real MRML; the DICOM database is a stand-in."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.regrid import regrid
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.export.algorithm import Algorithm
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.export.request import Modality, Remedy, Target
from fewshot_annotate.host.export import controller as export_module
from fewshot_annotate.host.export.controller import ExportController, ExportState
from fewshot_annotate.host.export.dicom_database import INSTANCES_ATTRIBUTE
from fewshot_annotate.host.export.segmentation_copy import ExportSettings, with_remedy
from fewshot_annotate.host.mrml.chosen_nodes import ChosenNodes
from fewshot_annotate.io.files import read_label_maps
from pydicom import dcmread
from support import mrml
from support.dicom import cropped_labels, dcmqi_segments, names_of, write_cropped_headers
from support.dicom_database import DicomDatabaseStandIn
from support.labels import small_case
from support.unexpected_error import UnexpectedError

WAIT_SECONDS = 60.0


@dataclass(kw_only=True)
class ExportScene:
    """A scene with the cropped series, loaded from the database, and a segmentation of it."""

    database: DicomDatabaseStandIn
    controller: ExportController
    volume: Any
    segmentation: Any
    labels: LabelMap
    folder: Path

    def check(self, **settings: Any) -> None:
        values = {"target": Target.DICOM_SEG, "output": self.folder / "seg.dcm", **settings}
        self.controller.check(self.nodes, ExportSettings(**values))
        self.wait()

    @property
    def nodes(self) -> ChosenNodes:
        return ChosenNodes(self.volume, self.segmentation)

    def wait(self) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while self.controller.state in (ExportState.CHECKING, ExportState.EXPORTING):
            assert time.monotonic() < end, "the check or export did not end in time"
            self.controller.poll()

    def export(self) -> None:
        self.controller.export()
        self.wait()

    @property
    def codes(self) -> list[str]:
        return [problem.error.code for problem in self.controller.problems]


def add_nodes(volume: Volume, labels: LabelMap) -> tuple[Any, Any]:
    grid = volume.geometry
    node = mrml.add_volume(volume.array, grid.spacing, grid.origin, grid.direction, "CT")
    masks = {segment.name: labels.array == segment.value for segment in labels.segments}
    return node, mrml.add_segmentation(node, masks)


@pytest.fixture
def export_scene(tmp_path: Path) -> Any:
    mrml.new_scene()
    series = read_series(write_cropped_headers(tmp_path / "series"))
    database = DicomDatabaseStandIn(tmp_path / "database")
    for header in series.headers:
        database.insert(str(header.filename))
    labels = cropped_labels()
    ramp = np.arange(labels.array.size, dtype=np.int16).reshape(labels.array.shape) % 997
    node, segmentation = add_nodes(Volume(ramp, series.geometry), labels)
    node.SetAttribute(INSTANCES_ATTRIBUTE, " ".join(str(header.SOPInstanceUID) for header in series.headers))
    folder = tmp_path / "out"
    folder.mkdir()
    controller = ExportController(database)
    yield ExportScene(
        database=database, controller=controller, volume=node, segmentation=segmentation, labels=labels, folder=folder
    )
    controller.close()


def voxels(path: Path, folder: Path, labels: LabelMap) -> dict[str, np.ndarray]:
    """Mask of each segment of a file on the grid of `labels`, as dcmqi reads it."""
    found = {}
    for name, (mask, grid) in dcmqi_segments(path, folder).items():
        (resampled,) = regrid([LabelMap(mask.astype(np.uint8), grid)], labels.geometry).layers
        found[name] = resampled.array.astype(bool)
    return found


def test_a_click_applies_a_remedy_and_the_file_equals_the_scene(export_scene: ExportScene, tmp_path: Path) -> None:
    export_scene.segmentation.GetSegmentation().GetSegment("liver").RemoveTag("TerminologyEntry")
    export_scene.check()
    assert export_scene.codes == ["codes_missing"]
    with pytest.raises(InputError):
        export_scene.controller.export()
    export_scene.controller.apply_remedy(export_scene.controller.problems[0].remedies[0])
    export_scene.wait()
    assert export_scene.codes == []
    export_scene.export()
    assert export_scene.controller.state is ExportState.DONE
    assert export_scene.controller.report is not None
    assert export_scene.controller.report.verified
    written = [item.SegmentLabel for item in dcmread(export_scene.folder / "seg.dcm").SegmentSequence]
    assert written == names_of(export_scene.labels.segments)
    found = voxels(export_scene.folder / "seg.dcm", tmp_path / "dcmqi", export_scene.labels)
    assert sorted(found) == sorted(names_of(export_scene.labels.segments))
    for segment in export_scene.labels.segments:
        assert (found[segment.name] == (export_scene.labels.array == segment.value)).all(), segment.name


def test_slicers_default_tissue_is_reported_and_replaced_by_a_click(
    export_scene: ExportScene,
) -> None:
    export_scene.check()
    assert export_scene.codes == []
    assert export_scene.controller.preflight is not None
    (note,) = [note for note in export_scene.controller.preflight.notes if note.error.code == "codes_generic"]
    assert sorted(note.segments) == sorted(names_of(export_scene.labels.segments))
    export_scene.controller.apply_remedy(note.remedies[0])
    export_scene.wait()
    export_scene.export()
    items = {item.SegmentLabel: item for item in dcmread(export_scene.folder / "seg.dcm").SegmentSequence}
    assert items["liver"].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"


def test_terminology_colour_and_algorithm_of_a_segment_are_exported(export_scene: ExportScene) -> None:
    segment = export_scene.segmentation.GetSegmentation().GetSegment("liver")
    tag = "x~SCT^123037004^Anatomical Structure~SCT^78961009^Spleen~^^~x~^^~^^"
    segment.SetTag("TerminologyEntry", tag)
    for name, text in Algorithm("FewShotAnnotate adapt", "0.1.0", "none").tags().items():
        segment.SetTag(name, text)
    segment.SetColor(0.2, 0.4, 0.6)
    export_scene.check(agreed=frozenset({Remedy.SUGGEST_CODES}))
    export_scene.export()
    items = {item.SegmentLabel: item for item in dcmread(export_scene.folder / "seg.dcm").SegmentSequence}
    assert items["liver"].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Spleen"
    assert items["liver"].SegmentAlgorithmName == "FewShotAnnotate adapt"
    assert items["aorta"].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Aorta"
    from highdicom.color import CIELabColor

    colour = CIELabColor.from_dicom_value([int(v) for v in items["liver"].RecommendedDisplayCIELabValue]).to_rgb()
    assert colour == (51, 102, 153)


def test_only_the_requested_segments_are_exported(export_scene: ExportScene) -> None:
    export_scene.check(agreed=frozenset({Remedy.SUGGEST_CODES}), segment_ids=("aorta", "pancreas"))
    export_scene.export()
    labels = [item.SegmentLabel for item in dcmread(export_scene.folder / "seg.dcm").SegmentSequence]
    assert sorted(labels) == ["aorta", "pancreas"]


def test_overlapping_segments_of_the_scene_are_kept(export_scene: ExportScene, tmp_path: Path) -> None:
    import slicer

    segmentation = export_scene.segmentation.GetSegmentation()
    segmentation.AddEmptySegment("abdomen", "abdomen")
    whole = (export_scene.labels.array != 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(whole, export_scene.segmentation, "abdomen", export_scene.volume)
    export_scene.check(agreed=frozenset({Remedy.SUGGEST_CODES}))
    export_scene.export()
    found = voxels(export_scene.folder / "seg.dcm", tmp_path / "dcmqi", export_scene.labels)
    assert (found["abdomen"] == whole.astype(bool)).all()
    assert (found["liver"] == (export_scene.labels.array == export_scene.labels.segments[0].value)).all()


def test_painting_after_the_check_is_not_part_of_the_file(export_scene: ExportScene, tmp_path: Path) -> None:
    import slicer

    export_scene.check(agreed=frozenset({Remedy.SUGGEST_CODES}))
    empty = np.zeros(export_scene.labels.array.shape, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(empty, export_scene.segmentation, "liver", export_scene.volume)
    export_scene.export()
    found = voxels(export_scene.folder / "seg.dcm", tmp_path / "dcmqi", export_scene.labels)
    assert found["liver"].any()


def test_a_transform_of_volume_and_segmentation_keeps_the_labels_in_place(
    export_scene: ExportScene, tmp_path: Path
) -> None:
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((0, -1, 0, 5, 1, 0, 0, -7, 0, 0, 1, 9, 0, 0, 0, 1))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    for node in (export_scene.volume, export_scene.segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    export_scene.check(agreed=frozenset({Remedy.SUGGEST_CODES}))
    export_scene.export()
    found = voxels(export_scene.folder / "seg.dcm", tmp_path / "dcmqi", export_scene.labels)
    assert (found["aorta"] == (export_scene.labels.array == export_scene.labels.values[5])).all()


def test_labels_moved_relative_to_their_images_are_detected(export_scene: ExportScene) -> None:
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 0.4)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    export_scene.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    export_scene.check(agreed=frozenset({Remedy.SUGGEST_CODES}))
    assert export_scene.codes == ["labels_off_grid"]
    export_scene.controller.apply_remedy(Remedy.RESAMPLE)
    export_scene.wait()
    assert export_scene.codes == []


def test_an_export_into_the_database_writes_no_other_file(export_scene: ExportScene, tmp_path: Path) -> None:
    before = export_scene.database.count
    export_scene.check(output=None, agreed=frozenset({Remedy.SUGGEST_CODES}))
    export_scene.export()
    assert export_scene.controller.state is ExportState.DONE
    assert export_scene.database.count == before + 1
    (stored,) = [path for path in (tmp_path / "database").iterdir() if dcmread(path).Modality == "SEG"]
    found = voxels(stored, tmp_path / "dcmqi", export_scene.labels)
    assert (found["liver"] == (export_scene.labels.array == export_scene.labels.values[0])).all()
    assert list(export_scene.folder.iterdir()) == []


def test_a_database_that_does_not_store_the_file_is_reported(
    export_scene: ExportScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_scene.check(output=None, agreed=frozenset({Remedy.SUGGEST_CODES}))
    monkeypatch.setattr(export_scene.database, "insert", lambda path: None)
    export_scene.export()
    assert export_scene.controller.state is ExportState.FAILED
    assert export_scene.controller.error is not None
    assert export_scene.controller.error.code == "database_refused"


def test_slices_missing_from_the_database_are_reported(export_scene: ExportScene) -> None:
    export_scene.database.remove(export_scene.volume.GetAttribute(INSTANCES_ATTRIBUTE).split()[3])
    with pytest.raises(InputError) as refused:
        export_scene.check()
    assert refused.value.code == "database_incomplete"
    export_scene.check(reference=export_scene.folder.parent / "series")
    assert export_scene.codes == []


def test_a_series_is_derived_for_a_volume_without_dicom_with_consent(tmp_path: Path) -> None:
    mrml.new_scene()
    volume, labels = small_case()
    node, segmentation = add_nodes(volume, labels)
    database = DicomDatabaseStandIn(tmp_path / "database")
    controller = ExportController(database)
    export_scene = ExportScene(
        database=database,
        controller=controller,
        volume=node,
        segmentation=segmentation,
        labels=labels,
        folder=tmp_path,
    )
    export_scene.check(output=None, modality=Modality.MR, agreed=frozenset({Remedy.SUGGEST_CODES}))
    assert export_scene.codes == ["reference_missing"]
    controller.apply_remedy(Remedy.DERIVE_SERIES)
    export_scene.wait()
    assert export_scene.codes == []
    export_scene.export()
    assert controller.report is not None
    assert controller.report.verified
    assert database.count == volume.array.shape[0] + 1
    controller.close()


@pytest.mark.parametrize("target", [Target.NIFTI, Target.SEG_NRRD])
def test_exported_image_files_equal_the_scene(export_scene: ExportScene, target: Target) -> None:
    output = export_scene.folder / f"a{target.suffixes[0]}"
    export_scene.check(target=target, output=output)
    export_scene.export()
    layers = read_label_maps(output)
    found = {
        segment.name: regrid([layer], export_scene.labels.geometry).layers[0].array == segment.value
        for layer in layers
        for segment in layer.segments
    }
    for segment in export_scene.labels.segments:
        assert (found[segment.name] == (export_scene.labels.array == segment.value)).all()


def test_each_remedy_changes_the_settings_that_it_names(tmp_path: Path) -> None:
    settings = ExportSettings(target=Target.NIFTI, output=tmp_path / "a.nii.gz")
    assert with_remedy(settings, Remedy.OVERWRITE) == replace(settings, agreed=frozenset({Remedy.OVERWRITE}))
    assert with_remedy(settings, Remedy.TO_SEG_NRRD).output == tmp_path / "a.seg.nrrd"
    separate = with_remedy(settings, Remedy.ONE_FILE_PER_SEGMENT)
    assert (separate.one_file_per_segment, separate.output) == (True, tmp_path / "a")
    assert with_remedy(settings, Remedy.DEFAULT_CODE).agreed == {Remedy.DEFAULT_CODE}


def test_an_existing_file_is_reported_and_replaced_by_a_click(export_scene: ExportScene) -> None:
    output = export_scene.folder / "seg.dcm"
    output.write_bytes(b"older")
    export_scene.check(agreed=frozenset({Remedy.SUGGEST_CODES}))
    assert export_scene.codes == ["output_exists"]
    export_scene.controller.apply_remedy(Remedy.OVERWRITE)
    export_scene.wait()
    export_scene.export()
    assert dcmread(output).Modality == "SEG"


def test_nothing_to_export_and_no_database_are_reported(export_scene: ExportScene) -> None:
    empty = mrml.add_segmentation(export_scene.volume, {"one": None}, "Empty")
    settings = ExportSettings(target=Target.DICOM_SEG, output=export_scene.folder / "a.dcm")
    export_scene.controller.check(ChosenNodes(export_scene.volume, empty), settings)
    export_scene.wait()
    assert export_scene.codes == ["labels_empty"]
    without_database = ExportController(None)
    with pytest.raises(InputError) as refused:
        without_database.check(export_scene.nodes, ExportSettings(target=Target.DICOM_SEG, output=None))
    assert refused.value.code == "database_missing"
    without_database.close()


@pytest.mark.parametrize("kind", [UnexpectedError, KeyError, MemoryError])
@pytest.mark.parametrize("step", ["check_copy", "deliver"])
def test_an_unexpected_error_fails_the_export_once_and_it_can_be_tried_again(
    step: str, kind: type[Exception], export_scene: ExportScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Any:
        raise kind("Doe^Jane")

    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    settings = {"target": Target.NIFTI, "output": export_scene.folder / "labels.nii.gz"}
    with monkeypatch.context() as patch:
        patch.setattr(export_module, step, failing)
        export_scene.check(**settings)
        if step == "deliver":
            export_scene.export()
        for _ in range(5):
            export_scene.controller.poll()
    assert export_scene.controller.state is ExportState.FAILED
    assert export_scene.controller.error is not None
    assert "Doe" not in str(export_scene.controller.error.data)
    assert not list(export_scene.folder.iterdir())
    export_scene.check(**settings)
    export_scene.export()
    assert export_scene.controller.state is ExportState.DONE
