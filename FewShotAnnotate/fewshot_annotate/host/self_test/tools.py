"""ToolChecks: the buttons of the export and of the tools work; checks of the self-test.

What they write goes into temporary folders: the data folder of the user and Slicer's DICOM database stay as they are.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from ...core.data_folder import HOME_VARIABLE, data_folder
from ...core.volume import Volume
from ...datasets.case_table import ReviewState
from ...export.request import Remedy, Target
from ...io.files import write_array
from ...weights import catalog, store
from ..comparison.controller import CompareState
from ..export.controller import ExportState
from ..fill.run_store import RunStore
from ..mrml.reading import volume_geometry
from ..panel import compare_section, settings_section
from ..panel.problem_list import remedy_titles
from .dialogs import Functions, Instead
from .panel_checks import PanelChecks
from .refusals import recorded_errors, recorded_questions, replaced

_CASES = ("first", "second")


class ToolChecks(PanelChecks):
    """Export, comparison, data set and settings are used as a user would."""

    def run(self) -> None:
        """Press each button that does not reach beyond the temporary folders."""
        for tool, check in (
            ("", self._export),
            ("compareSection", self._compare),
            ("datasetSection", self._dataset),
            ("settingsSection", self._settings),
        ):
            self._widget.accordion.open("tools" if tool else "export")
            if tool:
                getattr(self._ui, tool).collapsed = False
            with (
                tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
                _data_folder(Path(folder) / "data"),
            ):
                check(Path(folder))
            self._walk.until(lambda: self._ui.fillButton.enabled)

    # --- export

    def _export(self, folder: Path) -> None:
        """One file for each segment, which the second export overwrites after a click alone."""
        section, export = self._widget.exportSection, self._widget.logic.export
        section.target_box.setCurrentIndex(section.target_box.findData(str(Target.NIFTI)))
        section.path_edit.currentPath = str(folder / "heads")
        self._press(section.each_box)
        for again in (False, True):
            self._press(section.check_button)
            self._walk.until(lambda: export.state is ExportState.CHECKED)
            if again:
                self._test.assertFalse(section.export_button.enabled)
                title = remedy_titles()[Remedy.OVERWRITE]
                next(button for button in section.problems.buttons if button.text == title).click()
            self._press(section.export_button)
            self._walk.until(lambda: export.state in (ExportState.DONE, ExportState.FAILED))
            self._test.assertTrue(export.report is not None and export.report.verified, section.status_label.text)
        files = [path.name for path in (folder / "heads").iterdir() if path.name.endswith(".nii.gz")]
        self._test.assertEqual(files, ["head.nii.gz"])  # the other segment is empty
        self._press(section.each_box)

    # --- tools

    def _compare(self, folder: Path) -> None:
        """A comparison of one engine on few slices: cancelled, then completed, plotted, used and reported."""
        section, controller = self._widget.compareSection, self._widget.logic.compare
        engine, opened = self._parameters.engine, list[str]()
        self._walk.until(lambda: section.checklist.has_engines)
        for row in range(section.engines_table.rowCount):
            item = section.engines_table.item(row, 0)
            item.setCheckState(qt.Qt.Checked if item.text() == engine else qt.Qt.Unchecked)
        section.sizes_edit.text = "2"
        section.design_box.setCurrentIndex(0)
        self._press(section.compare_button)
        self._press(section.cancel_button)
        self._walk.until(lambda: controller.state is CompareState.CANCELLED)
        self._press(section.compare_button)
        self._walk.until(lambda: not controller.busy)
        self._test.assertIs(controller.state, CompareState.DONE, section.status_label.text)
        self._test.assertEqual(section.result_table.rowCount, 1)
        self._press(section.plot_button)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self._test.assertEqual(selection.GetActivePlotChartID(), controller.chart_node.GetID())
        self._parameters.engine = "auto"
        self._press(section.use_button)
        self._test.assertEqual(self._parameters.engine, engine)
        services = Functions(openUrl=lambda url: opened.append(url.toLocalFile()))
        declined: list[Any] = []
        with (
            replaced(compare_section, "qt", Instead(qt, QDesktopServices=services)),
            replaced(compare_section, "install_packages", declined.append),
        ):
            self._press(section.report_button)
        if not declined:  # what the report is made with is there
            self._test.assertTrue(Path(opened[0]).is_file(), opened)
        section.sizes_edit.text = ""

    def _dataset(self, folder: Path) -> None:
        """Two cases are labelled, accepted, flagged and reset, and the task is trained on them."""
        section, controls = self._widget.datasetSection, self._widget.datasetSection.controls
        controller = section.controller
        (folder / "images").mkdir()
        image = Volume(slicer.util.arrayFromVolume(self._walk.volume), volume_geometry(self._walk.volume))
        for name in _CASES:
            write_array(folder / "images" / f"{name}.nii.gz", image.array, image.geometry)
        controls.folder_edit.currentPath = str(folder / "set")
        self._press_and_wait(controls.open_button)
        controls.task_box.setEditText("self-test")
        self._press_and_wait(controls.task_button)
        self._test.assertEqual(controller.overview.task, "self-test")
        controls.images_edit.currentPath = str(folder / "images")
        self._press_and_wait(controls.add_button)
        self._test.assertEqual(sorted(case.name for case in controller.review.cases), sorted(_CASES))
        self._press_and_wait(controls.next_button)
        self._label_case()
        self._press_and_wait(controls.accept_next_button)
        self._require_states(ReviewState.ACCEPTED, ReviewState.IN_REVIEW)
        self._label_case()
        for button, state in (
            (controls.accept_button, ReviewState.ACCEPTED),
            (controls.flag_button, ReviewState.FLAGGED),
            (controls.reset_button, ReviewState.IN_REVIEW),
            (controls.accept_button, ReviewState.ACCEPTED),
            (controls.refresh_button, ReviewState.ACCEPTED),
        ):
            self._press_and_wait(button)
            self._require_states(ReviewState.ACCEPTED, state)
        self._train()
        section.reset()
        self._parameters.volume, self._parameters.segmentation = self._walk.volume, self._walk.segmentation

    def _train(self) -> None:
        """The training begins and is stopped, or a sentence names the missing package."""
        section, controls = self._widget.datasetSection, self._widget.datasetSection.controls
        training, title = section.controller.training, controls.train_row.button.text
        self._press(controls.train_row.button)
        self._walk.until(lambda: controls.train_row.button.text != title or not training.busy)
        if training.busy:
            controls.train_row.button.click()
        self._walk.until(lambda: not training.busy and controls.train_row.button.text == title)
        self._walk.until(lambda: not section.busy)

    def _label_case(self) -> None:
        """Paint the head into the case in the scene, and wait until its slices are listed."""
        node = self._widget.datasetSection.controller.review.nodes.segmentation
        segmentation = node.GetSegmentation()
        if segmentation.GetSegment("head") is None:
            segmentation.AddEmptySegment("head", "head")
        array = self._walk.painted().astype(np.uint8)
        volume = self._widget.datasetSection.controller.review.nodes.volume
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, "head", volume)
        self._walk.until(lambda: self._ui.slicesTable.rowCount == len(self._walk.labelled))

    def _require_states(self, *states: ReviewState) -> None:
        review = self._widget.datasetSection.controller.review
        self._test.assertEqual(tuple(case.state for case in review.cases), states)

    def _press_and_wait(self, button: Any) -> None:
        """Press a button of the data set, and wait until files are read and written."""
        with recorded_errors() as reported:
            self._press(button)
            self._walk.until(lambda: not self._widget.datasetSection.busy)
        self._test.assertEqual(reported, [])

    def _settings(self, folder: Path) -> None:
        section = self._widget.settingsSection
        self._delete_weights()
        self._delete_runs()
        self._copy_details()
        self._choose_folder(folder / "another")
        section.show()

    def _delete_weights(self) -> None:
        """Weights are deleted once the user agrees; withdrawing an agreement deletes its weights."""
        section, settings = self._widget.settingsSection, self._widget.logic.settings
        first, second = catalog.checkpoints()[:2]
        agreed = settings.consents
        for checkpoint in (first, second):
            store.path_of(checkpoint).parent.mkdir(parents=True, exist_ok=True)
            store.path_of(checkpoint).write_bytes(bytes(1000))
        settings.add_consent(second)
        section.show()
        names = list(settings.consents)
        section.consents_table.selectRow(names.index(second.name))
        with recorded_questions(True) as asked:
            self._press(section.revoke_button)
            self._test.assertFalse(store.path_of(second).exists())
            self._press(section.delete_button)
            self._test.assertFalse(store.path_of(first).exists())
        self._test.assertEqual(len(asked), 2, asked)
        self._test.assertNotIn(second.name, settings.consents)
        self._test.assertFalse(section.delete_button.enabled)
        if second.name in agreed:
            settings.add_consent(second)

    def _delete_runs(self) -> None:
        section, runs = self._widget.settingsSection, RunStore()
        run = runs.create()
        (run.path / "image.npy").write_bytes(bytes(1000))
        run.release()
        section.show()
        with recorded_questions(True):
            self._press(section.delete_runs_button)
        self._test.assertFalse(run.path.exists())
        self._test.assertFalse(section.delete_runs_button.enabled)

    def _copy_details(self) -> None:
        section, clipboard = self._widget.settingsSection, qt.QApplication.clipboard()
        clipboard.setText("")
        self._press(section.copy_button)
        self._walk.until(lambda: not section.busy)
        self._test.assertIn("propagate", clipboard.text())

    def _choose_folder(self, folder: Path) -> None:
        """Another data folder is used at once, and the default one again after a click."""
        section, settings = self._widget.settingsSection, self._widget.logic.settings
        before = settings.data_folder
        dialogs = Instead(qt, QFileDialog=Functions(getExistingDirectory=lambda *_arguments: str(folder)))
        with replaced(settings_section, "qt", dialogs):
            self._press(section.folder_button)
        self._test.assertEqual((data_folder(), section.folder_edit.text), (folder, str(folder)))
        self._press(section.default_button)
        self._test.assertNotEqual(data_folder(), folder)
        self._test.assertFalse(section.default_button.enabled)
        settings.data_folder = before
        settings.apply()


@contextmanager
def _data_folder(folder: Path) -> Iterator[None]:
    """Context manager: another data folder."""
    before = os.environ.get(HOME_VARIABLE)
    os.environ[HOME_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(HOME_VARIABLE, None)
        else:
            os.environ[HOME_VARIABLE] = before
