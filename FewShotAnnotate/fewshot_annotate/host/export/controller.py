"""ExportController: one segmentation of the scene checked, exported and verified, to a file or the DICOM database.

No Qt; a timer calls `poll`. Nodes are read where `check` is called; all that takes time is done by a thread.
"""

from __future__ import annotations

from enum import Enum
from functools import partial

from ...core.errors import InputError
from ...core.temporary import TemporaryFolder
from ...export.delivery import Report, deliver
from ...export.preflight import Preflight
from ...export.request import Problem, Remedy
from ..diagnostics.unexpected_errors import as_input_error
from ..mrml.chosen_nodes import ChosenNodes
from ..tasks import BackgroundTasks, Signal
from .dicom_database import DicomDatabase, insert_files
from .segmentation_copy import (
    ExportSettings,
    SegmentationCopy,
    check_copy,
    read_segmentation,
    voxels_version,
    with_remedy,
)


class ExportState(Enum):
    """What the controller is doing."""

    IDLE = "idle"
    CHECKING = "checking"
    CHECKED = "checked"  # `preflight` says what was found
    EXPORTING = "exporting"
    DONE = "done"  # `report` says how it ended
    FAILED = "failed"  # `error` says why


class ExportController:
    """Checks and exports one segmentation at a time.

    Parameters
    ----------
    database : DicomDatabase or None
        `slicer.dicomDatabase`.

    Attributes
    ----------
    changed : Signal
        Emitted after every change of `state`.
    settings : ExportSettings or None
        Of the last check.
    preflight : Preflight or None
        Problems, each with its remedies, and notes.
    report : Report or None
        'verified', or what differs.
    error : InputError or None
        A problem without a remedy.
    """

    def __init__(self, database: DicomDatabase | None) -> None:
        self.changed: Signal[[]] = Signal()
        self.state = ExportState.IDLE
        self.settings: ExportSettings | None = None
        self.preflight: Preflight | None = None
        self.report: Report | None = None
        self.error: InputError | None = None
        self._database = database
        self._copy_of_nodes: SegmentationCopy | None = None
        self._database_folder: TemporaryFolder | None = None
        self._tasks = BackgroundTasks("Export")

    @property
    def busy(self) -> bool:
        """Whether background work is under way, which short ticks bring to its end sooner."""
        return self._tasks.busy

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What prevents the export, after a check."""
        return self.preflight.blocking if self.preflight else ()

    def check(self, nodes: ChosenNodes, settings: ExportSettings) -> None:
        """Read the nodes and begin to copy their voxels, then the pre-flight.

        What is painted while the voxels are copied is exported, too; what is painted later is not.

        Raises
        ------
        InputError
            The nodes cannot be used.
        """
        self._require_idle()
        self._tasks.start_copy(
            lambda: read_segmentation(nodes, settings, self._database).copied,
            partial(voxels_version, nodes, settings),
            self._check_copy,
        )
        self._copy_of_nodes = None
        self._begin(settings)

    def apply_remedy(self, remedy: Remedy) -> None:
        """Apply a remedy and check again."""
        assert self.settings is not None
        self.check_again(with_remedy(self.settings, remedy))

    def check_again(self, settings: ExportSettings) -> None:
        """Check the same copy of the nodes with other settings."""
        self._require_idle()
        assert self._copy_of_nodes is not None
        self._begin(settings)
        self._check_copy(self._copy_of_nodes)

    def export(self) -> None:
        """Write, read back and compare what was checked; no blocking problem may be left."""
        self._require_idle()
        assert self.preflight is not None
        if self.preflight.blocking:
            raise self.preflight.blocking[0].error
        self.report = None
        self._tasks.start(partial(deliver, self.preflight), self._finish)
        self._set(ExportState.EXPORTING)

    def poll(self) -> None:
        """Bring the state up to date; call it several times a second."""
        try:
            self._tasks.poll()
        except Exception as error:
            self._fail(as_input_error(error))

    def close(self) -> None:
        """Accept no more work and clean up; files that are being written are completed or removed."""
        self._tasks.close()
        self._delete_temporary_folder()

    def _require_idle(self) -> None:
        if self._tasks.has_pending_results:
            raise InputError("run_active")

    def _begin(self, settings: ExportSettings) -> None:
        self._delete_temporary_folder()
        if settings.output is None:
            self._database_folder = TemporaryFolder()
        self.settings, self.preflight, self.report, self.error = settings, None, None, None
        self._set(ExportState.CHECKING)

    def _check_copy(self, copy_of_nodes: SegmentationCopy) -> None:
        assert self.settings is not None
        self._copy_of_nodes = copy_of_nodes
        folder = self._database_folder.path if self._database_folder is not None else None
        self._tasks.start(partial(check_copy, copy_of_nodes, self.settings, folder), self._checked)

    def _checked(self, preflight: Preflight) -> None:
        self.preflight = preflight
        self._set(ExportState.CHECKED)

    def _fail(self, error: InputError) -> None:
        self.error = error
        self._delete_temporary_folder()
        self._set(ExportState.FAILED)

    def _finish(self, report: Report) -> None:
        if report.verified and self._database_folder is not None:
            assert self._database is not None
            files = [file for path in report.paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
            insert_files(self._database, files)
            self._delete_temporary_folder()
        self.report = report
        self._set(ExportState.DONE)

    def _delete_temporary_folder(self) -> None:
        if self._database_folder is not None:
            self._database_folder.close()
            self._database_folder = None

    def _set(self, state: ExportState) -> None:
        self.state = state
        self.changed.emit()
