"""ExportSection: the part of the panel where labels are checked, exported and verified; a button for each remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctk
import qt

from ... import __version__
from ...core.errors import InputError
from ...export.algorithm import Algorithm
from ...export.dicom_seg import SegType
from ...export.request import Modality, Remedy, Target
from ..export.controller import ExportController, ExportState
from ..export.segmentation_copy import ExportSettings
from ..i18n import tr as _
from ..messages import Refusal, error_text
from ..mrml.chosen_nodes import ChosenNodes
from .problem_list import ProblemList
from .widgets import (
    Controls,
    body_layout,
    chosen_path,
    combo_box,
    row_layout,
    select_data,
    show_error,
    show_path,
    text_label,
)

_BUSY = (ExportState.CHECKING, ExportState.EXPORTING)


def _targets() -> dict[Target, str]:
    return {
        Target.DICOM_SEG: _("DICOM segmentation (.dcm)"),
        Target.NIFTI: _("NIfTI (.nii.gz)"),
        Target.NRRD: _("NRRD (.nrrd)"),
        Target.SEG_NRRD: _("Slicer segmentation (.seg.nrrd)"),
    }


class ExportSection:
    """Widgets of the export.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    controller : ExportController
        Its changes are shown from now on.
    has_database : bool
        Whether there is a DICOM database to export to.
    nodes : function
        Returns the ChosenNodes.
    """

    def __init__(
        self, parent: Any, controller: ExportController, has_database: bool, nodes: Callable[[], ChosenNodes]
    ) -> None:
        self._controller = controller
        self._has_database = has_database
        self._nodes = nodes
        self._checked: ChosenNodes | None = None  # nodes of the last check
        self._export_wanted = False
        self._showing = False
        self._path = ""
        self._controls = Controls()
        self._build(parent)
        controller.changed.connect(self.show)
        self.show()

    @property
    def busy(self) -> bool:
        """Whether a check or an export is under way, whose end `poll` reports."""
        return self._controller.state in _BUSY

    def poll(self) -> None:
        """Update what is shown; called by the panel's timer."""
        self._controller.poll()
        if self.path_edit.currentPath != self._path:  # it emits no signal when it is emptied
            self._on_settings()
        if self._checked is not None and not self.busy and self._nodes() != self._checked:
            self.reset()
        self._show_buttons()

    def reset(self) -> None:
        """Discard the result of the check, after a change of nodes or settings, or without a scene."""
        if self._checked is not None:
            self._checked = None
            self.show()

    # --- widgets

    def _build(self, parent: Any) -> None:
        self._parent = parent
        form = body_layout(parent, qt.QFormLayout)
        self.target_box = combo_box(_targets(), _("Format of the file."))
        form.addRow(_("Format:"), self.target_box)
        self.database_box = qt.QCheckBox(_("Into Slicer's DICOM database"))
        self.database_box.checked = self._has_database
        form.addRow(self.database_box)
        self.path_edit = ctk.ctkPathLineEdit()
        form.addRow(_("File:"), self.path_edit)
        self.each_box = qt.QCheckBox(_("One file per segment, in a folder"))
        form.addRow(self.each_box)
        types = {
            SegType.BINARY: _("Binary: one bit per segment"),
            SegType.LABELMAP: _("Labelmap: one label per voxel"),
        }
        self.type_box = combo_box(types, "")
        form.addRow(_("Segmentation type:"), self.type_box)
        modalities = {Modality.OTHER: _("Other"), Modality.CT: "CT", Modality.MR: "MR"}
        self.modality_box = combo_box(modalities, "")
        form.addRow(_("Images are:"), self.modality_box)
        self.check_button = qt.QPushButton(_("Check"))
        self.export_button = qt.QPushButton(_("Export"))
        form.addRow(row_layout(self.check_button, self.export_button))
        self.problems = ProblemList(parent, self._on_remedy)
        form.addRow(self.problems.widget)
        self.status_label = text_label()
        form.addRow(self.status_label)
        for box in (self.target_box, self.type_box, self.modality_box):
            box.connect("currentIndexChanged(int)", self._on_settings)
        for box in (self.database_box, self.each_box):
            box.connect("toggled(bool)", self._on_settings)
        self.path_edit.connect("currentPathChanged(QString)", self._on_settings)
        self.check_button.connect("clicked(bool)", self._on_check)
        self.export_button.connect("clicked(bool)", self._on_export)

    # --- what is shown

    def show(self) -> None:
        """Show the controller's state."""
        controller = self._controller
        if controller.state is ExportState.CHECKED and self._export_wanted:
            self._export_wanted = False
            if not controller.problems:
                controller.export()  # its change of state calls this method again
                return
        elif controller.state not in _BUSY:
            self._export_wanted = False
        self._show_settings()
        listed = (
            controller.preflight if self._checked is not None and controller.state is ExportState.CHECKED else None
        )
        self.problems.show((*listed.blocking, *listed.notes) if listed is not None else ())
        self.status_label.text = self._status()
        self._show_buttons()

    def _show_settings(self) -> None:
        """A remedy may have changed what the user chose."""
        settings = self._controller.settings if self._checked is not None else None
        if settings is None:
            return
        self._showing = True
        select_data(self.target_box, str(settings.target))
        select_data(self.type_box, str(settings.type))
        self.each_box.checked = settings.one_file_per_segment
        if settings.output is not None:
            show_path(self.path_edit, settings.output)
        self._showing = False

    def _show_buttons(self) -> None:
        busy = InputError("export_under_way") if self.busy else None
        dicom = self._target is Target.DICOM_SEG
        other = None if dicom else InputError("dicom_seg_only")
        database = None if self._has_database else InputError("no_database_open")
        self._controls.enable(self.target_box, busy, _("Format of the file."))
        self._controls.enable(self.database_box, busy or other or database, _("Off: into a file."))
        in_database = InputError("goes_into_database") if self._into_database else None
        self._controls.enable(
            self.path_edit, busy or in_database, _("Where the file goes, or the folder for one file per segment.")
        )
        single = InputError("dicom_seg_holds_all") if dicom else None
        self._controls.enable(
            self.each_box, busy or single, _("Overlapping segments are kept this way in every format.")
        )
        self._controls.enable(self.type_box, busy or other, _("Labelmap is newer: not every program reads it."))
        tip = _("Modality of the series that is derived where the volume did not come from DICOM.")
        self._controls.enable(self.modality_box, busy or other, tip)
        self._controls.enable(self.check_button, busy or self._why_not_check(), _("List what prevents the export."))
        tip = _("Write what is in the scene now, read it back and compare.")
        self._controls.enable(self.export_button, busy or self._why_not_export(), tip)

    def _status(self) -> str:
        controller = self._controller
        match controller.state:
            case ExportState.CHECKING:
                return _("Checking ...")
            case ExportState.EXPORTING:
                return _("Writing and reading back ...")
            case ExportState.FAILED if self._checked is not None and controller.error is not None:
                return error_text(controller.error)
            case ExportState.CHECKED if self._checked is not None:
                return _("Resolve the listed problems first.") if controller.problems else _("Ready to export.")
            case ExportState.DONE if controller.report is not None and self._checked is not None:
                return self._ending()
        return ""

    @property
    def state_line(self) -> str:
        """State of the export in a few words."""
        return self._status().partition("\n")[0]

    def _ending(self) -> str:
        report, settings = self._controller.report, self._controller.settings
        assert report is not None
        assert settings is not None
        if not report.verified:
            title = _("Nothing was kept: what was read back differs.")
            return "\n".join([title, *map(error_text, report.differences)])
        destination = (
            _("the DICOM database") if settings.output is None else ", ".join(path.name for path in report.paths)
        )
        lines = [_("Verified: {place}").format(place=destination), self._what_was_compared()]
        lines += [_("Note: {text}").format(text=error_text(note.error)) for note in report.notes]
        return "\n".join(lines)

    def _what_was_compared(self) -> str:
        settings = self._controller.settings
        if settings is not None and settings.target is Target.DICOM_SEG:
            return _(
                "Header read again by pydicom, voxels by highdicom: geometry, names, colours and codes are the same."
            )
        report = self._controller.report
        assert report is not None
        by, described = (", ".join(map(error_text, names)) for names in (report.readers, report.describers))
        return _(
            "Voxels and geometry are the same as read by: {readers}. Names, colours and codes: by {describers}."
        ).format(readers=by, describers=described)

    def _why_not_check(self) -> Refusal:
        nodes = self._nodes()
        if not nodes.complete:
            return nodes.refusal
        if not self._into_database and chosen_path(self.path_edit) is None:
            return InputError("file_not_chosen")
        return None

    def _why_not_export(self) -> Refusal:
        refusal = self._why_not_check()
        if refusal is not None:
            return refusal
        if self._checked is None or self._controller.state is not ExportState.CHECKED:
            return InputError("export_unchecked")
        return InputError("export_problems_left") if self._controller.problems else None

    # --- what the user does

    @property
    def _target(self) -> Target:
        return Target(self.target_box.currentData)

    @property
    def _into_database(self) -> bool:
        return self._has_database and self._target is Target.DICOM_SEG and self.database_box.checked

    def _settings(self) -> ExportSettings:
        return ExportSettings(
            target=self._target,
            output=None if self._into_database else chosen_path(self.path_edit),
            type=SegType(self.type_box.currentData),
            one_file_per_segment=self.each_box.checked and self._target is not Target.DICOM_SEG,
            modality=Modality(self.modality_box.currentData),
        )

    def _on_settings(self, *_values: object) -> None:
        self._path = self.path_edit.currentPath
        if not self._showing:
            files, folders = ctk.ctkPathLineEdit.Files, ctk.ctkPathLineEdit.Dirs
            self.path_edit.filters = (folders if self.each_box.checked else files) | ctk.ctkPathLineEdit.Writable
            self.reset()
            self._show_buttons()

    def _check(self, settings: ExportSettings) -> bool:
        nodes = self._nodes()
        try:
            self._checked = nodes
            self._controller.check(nodes, settings)
        except InputError as error:
            self._checked = None
            self.show()
            show_error(error)
            return False
        return True

    def _on_check(self, checked: bool = False) -> None:
        self._export_wanted = False
        self._check(self._settings())

    def _on_export(self, checked: bool = False) -> None:
        """Check again before the export: the user may have painted since."""
        assert self._controller.settings is not None
        self._export_wanted = True
        self._export_wanted = self._check(self._controller.settings)

    def _on_remedy(self, remedy: Remedy) -> None:
        controller = self._controller
        assert controller.settings is not None
        if remedy is Remedy.GIVE_REFERENCE:
            folder = qt.QFileDialog.getExistingDirectory(self._parent, _("Folder of the DICOM series"))
            if folder:
                controller.check_again(replace(controller.settings, reference=Path(folder)))
        elif remedy is Remedy.GIVE_ENGINE:
            name = qt.QInputDialog.getText(self._parent, _("Engine"), _("What made the segments?"))
            if name:
                controller.check_again(replace(controller.settings, algorithm=Algorithm(name, __version__)))
        else:
            controller.apply_remedy(remedy)
