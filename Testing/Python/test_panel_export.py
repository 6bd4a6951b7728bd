"""Export in the panel, on the stand-in for PythonQt: real MRML, real files; the DICOM database is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer
from pydicom import dcmread
from support import mrml, slicer_standin
from support.dicom import cropped_labels, names_of, write_cropped_headers
from support.dicom_database import DicomDatabaseStandIn
from support.panel import Panel, tool_tip

slicer_standin.install()

from fewshot_annotate.core.volume import Volume  # noqa: E402
from fewshot_annotate.export.dicom_series import read_series  # noqa: E402
from fewshot_annotate.export.request import Remedy  # noqa: E402
from fewshot_annotate.host.export.dicom_database import INSTANCES_ATTRIBUTE  # noqa: E402
from fewshot_annotate.host.panel.problem_list import remedy_titles  # noqa: E402
from fewshot_annotate.io.files import read_label_maps  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)


class ExportPanel(Panel):
    """The panel with the export opened."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(None)
        self.collapsed_at_first = self.ui.exportSection.collapsed
        self.ui.exportSection.collapsed = False
        self.folder = tmp_path / "out"
        self.folder.mkdir()
        self.export = self.widget.exportSection

    def press(self, name: str) -> None:
        """Press Check, Export or a remedy, by the text of its button, and wait for what follows."""
        buttons = [self.export.check_button, self.export.export_button, *self.export.problems.buttons]
        button = next(button for button in buttons if button.text == name)
        assert button.enabled, button.toolTip
        button.click()
        self.until(lambda: not self.export.busy)

    @property
    def remedies(self) -> list[str]:
        """Texts of the remedies offered."""
        return [button.text for button in self.export.problems.buttons]

    @property
    def status(self) -> str:
        """Status of the section."""
        return self.export.status_label.text

    def into_file(self, name: str) -> Path:
        """Choose a file."""
        self.export.database_box.setChecked(False)
        path = self.folder / name
        self.export.path_edit.setCurrentPath(str(path))
        return path


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DicomDatabaseStandIn:
    database = DicomDatabaseStandIn(tmp_path / "database")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return database


@pytest.fixture
def panel(clean: None, tmp_path: Path, database: DicomDatabaseStandIn) -> Iterator[ExportPanel]:
    """The panel on a cropped CT series loaded from the database."""
    mrml.new_scene()
    series = read_series(write_cropped_headers(tmp_path / "series"))
    for header in series.headers:
        database.insert(str(header.filename))
    labels = cropped_labels()
    ramp = np.arange(labels.array.size, dtype=np.int16).reshape(labels.array.shape) % 997
    grid = Volume(ramp, series.geometry).geometry
    node = mrml.add_volume(ramp, grid.spacing, grid.origin, grid.direction, "CT")
    masks = {segment.name: labels.array == segment.value for segment in labels.segments}
    mrml.add_segmentation(node, masks)
    node.SetAttribute(INSTANCES_ATTRIBUTE, " ".join(str(header.SOPInstanceUID) for header in series.headers))
    opened = ExportPanel(tmp_path)
    opened.until(lambda: opened.parameters.volume is node and opened.export.check_button.enabled)
    yield opened
    slicer_standin.close_module(opened.widget)
    mrml.clear_scene()


def remove_code(panel: ExportPanel, name: str) -> None:
    panel.parameters.segmentation.GetSegmentation().GetSegment(name).RemoveTag("TerminologyEntry")


def test_an_emptied_path_is_noticed_although_its_edit_emits_no_signal(panel: ExportPanel, tmp_path: Path) -> None:
    section = panel.export
    section.target_box.setCurrentIndex(1)
    section.path_edit.setCurrentPath(str(tmp_path / "a.nii.gz"))
    panel.until(lambda: section.check_button.enabled)
    section.check_button.click()
    panel.until(lambda: section.export_button.enabled)
    section.path_edit.setCurrentPath("")
    panel.until(lambda: not section.export_button.enabled)
    assert section.status_label.text == ""


def test_the_section_is_collapsed_at_first(panel: ExportPanel) -> None:
    assert panel.collapsed_at_first


def test_problems_are_listed_and_solved_by_a_click_and_the_file_is_verified(panel: ExportPanel) -> None:
    panel.ui.reviewSection.collapsed = False
    remove_code(panel, "liver")
    path = panel.into_file("seg.dcm")
    assert tool_tip(panel.export.export_button) == "Check first."
    panel.press("Check")
    assert panel.remedies[:2] == ["Use suggested codes", "Code as plain tissue"]
    assert tool_tip(panel.export.export_button) == panel.status == "Resolve the listed problems first."
    panel.widget.accordion.open("export")
    panel.picture("export_remedies")
    panel.press("Use suggested codes")
    assert panel.status == "Ready to export."
    panel.press("Export")
    assert panel.status.splitlines()[0] == f"Verified: {path.name}"
    panel.picture("export_verified")
    items = {item.SegmentLabel: item for item in dcmread(path).SegmentSequence}
    assert sorted(items) == sorted(names_of(cropped_labels().segments))
    assert items["liver"].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"


def test_the_export_goes_into_the_dicom_database_unless_a_file_is_chosen(
    panel: ExportPanel, database: DicomDatabaseStandIn, tmp_path: Path
) -> None:
    before = database.count
    assert panel.export.database_box.checked
    assert tool_tip(panel.export.path_edit) == "The segmentation goes into the DICOM database."
    panel.press("Check")
    panel.press("Export")
    assert panel.status.splitlines()[0] == "Verified: the DICOM database"
    assert database.count == before + 1
    assert [dcmread(path).Modality for path in (tmp_path / "database").iterdir()].count("SEG") == 1


@pytest.mark.parametrize("typed", ["~/liver.nii.gz", "liver.nii.gz", "~liver.nii.gz"])
def test_a_name_without_a_folder_goes_into_the_home_folder(
    panel: ExportPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home é"))
    (tmp_path / "home é").mkdir()
    panel.export.target_box.setCurrentIndex(1)
    panel.export.path_edit.setCurrentPath(typed)
    panel.press("Check")
    expected = tmp_path / "home é" / typed.removeprefix("~/")
    assert panel.export.path_edit.currentPath == str(expected)
    panel.press("Export")
    assert panel.status.startswith(f"Verified: {expected.name}")
    assert expected.is_file()


def test_an_existing_file_is_overwritten_only_after_a_click(panel: ExportPanel) -> None:
    path = panel.into_file("seg.dcm")
    path.write_bytes(b"older")
    panel.press("Check")
    assert "Overwrite" in panel.remedies
    panel.press("Overwrite")
    panel.into_file("other.dcm")
    assert tool_tip(panel.export.export_button) == "Check first."
    panel.into_file("seg.dcm")
    panel.press("Check")
    assert "Overwrite" in panel.remedies
    assert path.read_bytes() == b"older"
    panel.press("Overwrite")
    panel.press("Export")
    assert dcmread(path).Modality == "SEG"


def test_paint_between_check_and_export_is_in_the_file(panel: ExportPanel) -> None:
    path = panel.into_file("a.nii.gz")
    panel.export.target_box.setCurrentIndex(1)
    panel.press("Check")
    whole = np.zeros(cropped_labels().array.shape, np.uint8)
    whole[:2] = 1
    node, volume = panel.parameters.segmentation, panel.parameters.volume
    for name in node.GetSegmentation().GetSegmentIDs()[1:]:
        node.GetSegmentation().RemoveSegment(name)
    (name,) = node.GetSegmentation().GetSegmentIDs()
    slicer.util.updateSegmentBinaryLabelmapFromArray(whole, node, name, volume)
    panel.press("Export")
    (written,) = read_label_maps(path)
    np.testing.assert_array_equal(written.array != 0, whole != 0)


def test_overlap_is_solved_by_another_format_and_the_controls_show_it(panel: ExportPanel) -> None:
    node = panel.parameters.segmentation
    node.GetSegmentation().AddEmptySegment("abdomen", "abdomen")
    whole = (cropped_labels().array != 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(whole, node, "abdomen", panel.parameters.volume)
    panel.into_file("a.nii.gz")
    panel.export.target_box.setCurrentIndex(1)
    panel.press("Check")
    assert panel.remedies[:2] == ["One file per segment", "Export as .seg.nrrd"]
    panel.press("Export as .seg.nrrd")
    assert panel.export.target_box.currentText == "Slicer segmentation (.seg.nrrd)"
    assert panel.export.path_edit.currentPath == str(panel.folder / "a.seg.nrrd")
    panel.press("Export")
    names = {segment.name for layer in read_label_maps(panel.folder / "a.seg.nrrd") for segment in layer.segments}
    assert "abdomen" in names


def test_a_volume_without_dicom_uses_a_derived_series_or_its_own_folder(
    panel: ExportPanel, tmp_path: Path, database: DicomDatabaseStandIn
) -> None:
    panel.parameters.volume.RemoveAttribute(INSTANCES_ATTRIBUTE)
    path = panel.into_file("seg.dcm")
    panel.press("Check")
    assert panel.remedies[:2] == ["Choose DICOM folder...", "Derive a series from the volume"]
    slicer_standin.dialogs().answer_next(str(tmp_path / "series"))
    panel.press("Choose DICOM folder...")
    assert panel.status == "Ready to export."
    panel.press("Export")
    assert path.is_file()
    panel.into_file("derived.dcm")
    panel.press("Check")
    panel.press("Derive a series from the volume")
    panel.press("Export")
    assert panel.status.startswith("Verified: ")
    assert len(list((panel.folder / "images").iterdir())) == len(cropped_labels().array)


def test_every_disabled_control_states_the_reason(panel: ExportPanel) -> None:
    export = panel.export
    export.database_box.setChecked(False)
    assert tool_tip(export.check_button) == "Choose where the file goes first."
    export.target_box.setCurrentIndex(1)
    for control in (export.database_box, export.type_box, export.modality_box):
        assert not control.enabled
        assert tool_tip(control) == "Only for DICOM segmentations."
    mrml.clear_scene()
    panel.tick()
    assert tool_tip(export.check_button) == "Choose a volume first."
    assert panel.remedies == []


def test_unreadable_files_are_reported_in_a_dialog(panel: ExportPanel, database: DicomDatabaseStandIn) -> None:
    database.remove(panel.parameters.volume.GetAttribute(INSTANCES_ATTRIBUTE).split()[0])
    panel.export.check_button.click()
    (text,) = slicer_standin.dialogs().texts
    assert text.startswith("Volume 'CT': 1 of its 9 DICOM slices are no longer in the database")
    assert tool_tip(panel.export.export_button) == "Check first."


def test_every_remedy_has_a_button_except_a_code_that_must_be_typed() -> None:
    assert set(remedy_titles()) == set(Remedy) - {Remedy.GIVE_CODE}
