"""DialogChecks: errors and questions of the export, the tools and the review; checks of the self-test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from ...core.errors import InputError
from ...core.segment_tags import NAME_TAG
from ...core.volume import Volume
from ...export.request import Remedy, Target
from ...io.files import write_array
from ...weights import catalog
from ..engines.downloaded_weights import DownloadedWeights
from ..export.controller import ExportState
from ..fill.run_store import StoredRun
from ..messages import error_text
from ..mrml.reading import volume_geometry
from ..panel import export_section, settings_section, volume_step
from ..panel.problem_list import remedy_titles
from ..settings import Settings
from .panel_checks import PanelChecks
from .refusals import recorded_errors, recorded_questions, replaced

_TOOLS = ("compareSection", "datasetSection", "settingsSection")
# An example of the errors that a step may report; its sentence needs no data.
_REFUSAL = InputError("run_active")


class DialogChecks(PanelChecks):
    """Opens every dialog and answers it so that no data of the user change."""

    def run(self) -> None:
        """Open and answer every dialog."""
        self._widget.accordion.open("tools")
        for name in _TOOLS:
            getattr(self._ui, name).collapsed = False
        for check in (self._steps, self._export, self._dicom_export, self._compare, self._dataset, self._settings):
            check()
            self._walk.until(lambda: self._ui.fillButton.enabled)

    # --- the steps and the export

    def _steps(self) -> None:
        """An error of what a button starts is reported, for each button of the steps."""
        logic, review = self._widget.logic, self._widget.reviewSection
        review.table.selectAll()
        with replaced(logic, "poll", _refuse):  # by the timer
            self._require_error(lambda: None, error_text(_REFUSAL))
        for button, owner, name in (
            (self._ui.exampleButton, volume_step, "make_example"),
            (self._ui.suggestButton, logic, "suggest"),
            (self._ui.fillButton, logic, "fill"),
            (review.plot_button, logic.review, "show_plot"),
            (review.flag_button, logic.review, "flag"),
            (review.refill_button, logic, "fill"),
        ):
            self._walk.until(partial(getattr, button, "enabled"))
            with replaced(owner, name, _refuse):
                self._require_error(button.click, error_text(_REFUSAL))

    def _export(self) -> None:
        section = self._widget.exportSection
        coloured = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colours")
        slicer.util.updateVolumeFromArray(coloured, np.zeros((4, 5, 6, 3), np.uint8))
        with tempfile.TemporaryDirectory() as folder:
            self._choose_target(Target.DICOM_SEG, Path(folder) / "head.dcm")
            self._parameters.volume = coloured
            self._walk.until(lambda: section.check_button.enabled)
            self._require_error(section.check_button.click, error_text(InputError("node_not_volume", name="Colours")))
            self._parameters.volume = self._walk.volume
        slicer.mrmlScene.RemoveNode(coloured)

    def _dicom_export(self) -> None:
        """Dialogs for the folder of the series and for the name of the engine, which are cancelled."""
        if find_spec("highdicom") is None:
            return
        section, asked = self._widget.exportSection, list[str]()
        segmentation = self._walk.segmentation.GetSegmentation()
        for name in segmentation.GetSegmentIDs():
            segmentation.GetSegment(name).RemoveTag(NAME_TAG)

        def cancel(_parent: Any, title: str, *_arguments: Any) -> str:
            asked.append(title)
            return ""

        files, texts = Functions(getExistingDirectory=cancel), Functions(getText=cancel)
        dialogs = Instead(qt, QFileDialog=files, QInputDialog=texts)
        with tempfile.TemporaryDirectory() as folder, replaced(export_section, "qt", dialogs):
            self._choose_target(Target.DICOM_SEG, Path(folder) / "head.dcm")
            section.check_button.click()
            self._walk.until(
                lambda: section.problems.buttons and self._widget.logic.export.state is ExportState.CHECKED
            )
            titles = remedy_titles()
            for remedy in (Remedy.GIVE_REFERENCE, Remedy.GIVE_ENGINE):
                offered = {button.text: button for button in section.problems.buttons}
                self._test.assertIn(titles[remedy], offered)
                offered[titles[remedy]].click()
            self._test.assertEqual(len(asked), 2, asked)
            self._test.assertFalse(section.export_button.enabled)

    def _choose_target(self, target: Target, path: Path) -> None:
        section = self._widget.exportSection
        section.target_box.setCurrentIndex(section.target_box.findData(str(target)))
        section.database_box.checked = False
        section.path_edit.currentPath = str(path)

    # --- the tools

    def _compare(self) -> None:
        section = self._widget.compareSection
        self._walk.until(lambda: section.compare_button.enabled)
        section.sizes_edit.text = "two"
        self._require_error(section.compare_button.click, error_text(InputError("sizes_malformed", text="two")))
        section.sizes_edit.text = ""

    def _dataset(self) -> None:
        section = self._widget.datasetSection
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for inner in ("foreign", "none", "images"):
                (folder / inner).mkdir()
            (folder / "foreign" / "notes.txt").write_text("of something else", encoding="utf-8")
            image = Volume(slicer.util.arrayFromVolume(self._walk.volume), volume_geometry(self._walk.volume))
            write_array(folder / "images" / "head.nii.gz", image.array, image.geometry)
            self._dataset_errors(folder)
            self._dataset_question(folder)
            section.reset()
        self._parameters.volume, self._parameters.segmentation = self._walk.volume, self._walk.segmentation

    def _dataset_errors(self, folder: Path) -> None:
        section, controls = self._widget.datasetSection, self._widget.datasetSection.controls
        controls.folder_edit.currentPath = str(folder / "foreign")
        sentence = error_text(InputError("batch_folder_foreign", path=folder / "foreign"))
        self._require_error(controls.open_button.click, sentence)
        controls.folder_edit.currentPath = str(folder / "set")
        controls.open_button.click()
        self._walk.until(lambda: not section.busy and controls.task_box.enabled)
        controls.task_box.setEditText("a/b")
        self._require_error(controls.task_button.click, error_text(InputError("library_name", name="a/b")))
        controls.images_edit.currentPath = str(folder / "none")
        sentence = error_text(InputError("no_volumes", path=folder / "none"))
        self._require_error(controls.add_button.click, sentence)
        self._walk.until(lambda: not section.busy)

    def _dataset_question(self, folder: Path) -> None:
        """An edited case is only closed after a question."""
        section, controls = self._widget.datasetSection, self._widget.datasetSection.controls
        controls.images_edit.currentPath = str(folder / "images")
        controls.add_button.click()
        self._walk.until(lambda: not section.busy and controls.next_button.enabled)
        controls.next_button.click()
        self._walk.until(lambda: not section.busy and section.controller.review.nodes.complete)
        nodes = section.controller.review.nodes
        self._require_error(lambda: self._refused(controls.flag_button, "flag"), error_text(_REFUSAL))
        nodes.segmentation.GetSegmentation().AddEmptySegment("edited", "edited")
        self._walk.until(lambda: controls.open_button.enabled)
        with recorded_questions(False) as asked:
            controls.open_button.click()
        self._test.assertEqual(len(asked), 1, asked)
        self._test.assertIs(section.controller.review.nodes.segmentation, nodes.segmentation)
        for node in (nodes.segmentation, nodes.volume):
            slicer.mrmlScene.RemoveNode(node)

    def _refused(self, button: Any, name: str) -> None:
        self._walk.until(lambda: button.enabled)
        with replaced(self._widget.datasetSection.controller.review, name, _refuse):
            button.click()

    def _settings(self) -> None:
        section, checkpoint = self._widget.settingsSection, catalog.checkpoints()[0]
        weights, run = DownloadedWeights(checkpoint, 10**6), StoredRun("of the self-test", 10**6, 0.0)
        asked_for_folder: list[str] = []
        store = Functions(interrupted=lambda: [run], delete=lambda _run_id: None)

        def cancel(_parent: Any, title: str, *_arguments: Any) -> str:
            asked_for_folder.append(title)
            return ""

        dialogs = Instead(qt, QFileDialog=Functions(getExistingDirectory=cancel))
        with ExitStack() as stack:
            for owner, name, value in (
                (settings_section, "qt", dialogs),
                (settings_section, "list_downloaded_weights", lambda: (weights,)),
                (settings_section, "RunStore", lambda: store),
                (settings_section, "delete", _refuse),
                (Settings, "consents", property(lambda _settings: {checkpoint.name: checkpoint.licence})),
            ):
                stack.enter_context(replaced(owner, name, value))
            section.show()
            section.folder_button.click()
            self._test.assertEqual(len(asked_for_folder), 1)
            section.consents_table.selectRow(0)
            for button in (section.delete_button, section.delete_runs_button, section.revoke_button):
                with recorded_errors() as reported, recorded_questions(False) as asked:
                    button.click()
                self._test.assertEqual((len(asked), reported), (1, []), button.text)
            with recorded_questions(True):
                self._require_error(section.delete_button.click, error_text(_REFUSAL))
        section.show()

    # --- helper methods

    def _require_error(self, step: Callable[[], object], sentence: str) -> None:
        """A step reports one error in a dialog, at once or as soon as it has found it."""
        with recorded_errors() as reported:
            step()
            self._walk.until(lambda: bool(reported))
        self._test.assertEqual(reported, [sentence])


class Functions:
    """An object that has only the given functions."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        vars(self).update(functions)


class Instead:
    """A module of which some attributes are replaced; those of Qt itself cannot be set."""

    def __init__(self, module: Any, **attributes: Any) -> None:
        self._module = module
        vars(self).update(attributes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _refuse(*_arguments: Any, **_keywords: Any) -> None:
    raise _REFUSAL
