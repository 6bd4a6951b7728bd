"""CaseReview: the cases of a data set in Slicer. Shows one after the other, and writes which of them are accepted.

Files are read and written in a thread; `poll` puts what was read into the scene. The panel calls it from its timer as
long as `busy`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...core.errors import InputError
from ...datasets.accepted_case import batch_statuses
from ...datasets.accepting import LabelHistory
from ...datasets.batch_folder import BatchFolder
from ...datasets.case_table import CaseRow
from ...datasets.review_lock import ReviewLock
from ...datasets.reviewed_case import ReviewedCase
from ...datasets.reviewing import (
    Acceptance,
    CaseReading,
    ReviewTable,
    read_review_table,
    reset_case,
    write_acceptance,
)
from ..diagnostics.unexpected_errors import as_input_error
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.node_types import Scene
from ..tasks import BackgroundTasks
from .case_images import CaseImages
from .case_nodes import CaseLabels, add_case_nodes, is_moved, read_labels, remove_nodes, segmentation_version


@dataclass
class _Shown:
    """A case in the scene."""

    case: ReviewedCase
    lock: ReviewLock
    volume_id: str
    segmentation_id: str
    version: tuple[object, ...]


class CaseReview:
    """The review of the cases of one folder; a new one begins to read its table.

    Parameters
    ----------
    scene
        The MRML scene.
    path : str or Path
        The folder of a data set or of a batch.
    history : function
        Returns the provenance of the labels of the case in the scene, for a case that no batch filled.
    is_surveyed : function
        Advances the survey of what was painted by a step; returns whether the last stroke is known. Accepting a case
        that no batch filled waits for it.

    Raises
    ------
    InputError
        The folder holds no batch, or its status.csv is damaged.
    """

    def __init__(
        self,
        scene: Scene,
        path: str | Path,
        history: Callable[[], LabelHistory | None] = lambda: None,
        is_surveyed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.folder = BatchFolder(path)
        self._scene = scene
        self._history = history
        self._is_surveyed = is_surveyed
        self._accept_requested = self._copying = False
        self._tasks = BackgroundTasks("CaseReview")
        self._shown: _Shown | None = None
        self._reading: CaseReading | None = None
        batch_statuses(self.folder)
        self._table = ReviewTable()
        self._next: tuple[ReviewTable, str | None, str | None] = (self._table, None, None)
        self.reload()

    @property
    def table(self) -> ReviewTable:
        """The table as it was read last; without a case until it was read."""
        return self._table

    @property
    def cases(self) -> tuple[CaseRow, ...]:
        """The rows of the table."""
        return self._table.rows

    def reload(self) -> None:
        """Begin to read the table again; a batch or another reviewer may have changed it."""
        self._tasks.start(partial(read_review_table, self.folder, self.current or ""), self._set_table)

    @property
    def current(self) -> str | None:
        """Name of the case in the scene."""
        return self._shown.case.name if self._shown else None

    @property
    def node_ids(self) -> tuple[str, str] | None:
        """Ids of the nodes of the case in the scene, others each time it is shown; the user may have removed them."""
        return (self._shown.volume_id, self._shown.segmentation_id) if self._shown is not None else None

    @property
    def nodes(self) -> ChosenNodes:
        """Image and labels of the case in the scene, None where there is none or the user removed it."""
        return ChosenNodes(*(self._scene.GetNodeByID(identifier) for identifier in self.node_ids or ()))

    @property
    def changed(self) -> bool:
        """Whether the labels were edited since they were shown."""
        node = self.nodes.segmentation
        return node is not None and self._shown is not None and segmentation_version(node) != self._shown.version

    @property
    def busy(self) -> bool:
        """Whether files are being read or written, or are about to be."""
        return self._tasks.has_pending_results or self._accept_requested

    def show(self, name: str) -> None:
        """Begin to read a case; it takes the place of the one in the scene, edited or not.

        Raises
        ------
        InputError
            Something is under way. What `poll` raises: somebody else reviews the case, or it cannot be read.
        """
        self._require_idle()
        held = self._shown.lock if self._shown is not None and self.current == name else None
        reading = self._reading = CaseReading(self.folder, name, held, self.current or "")
        self._tasks.start(partial(_read, reading), self._show_case)

    def accept(self) -> None:
        """Accept the case in the scene: begin to write its labels if they were edited, and the table.

        What is painted while the labels are copied is accepted, too; what is painted later is not.
        The labels as they were filled are kept as label.filled.nii.gz. If the data set has a task, the case becomes
        an example of it.

        Raises
        ------
        InputError
            Something is under way, no case is shown, its segmentation cannot be read, or its image was removed and no
            batch filled it. What `poll` raises: segments overlap, labels lie outside the image, or nothing is
            labelled.
        """
        shown = self._require_shown()
        if shown.case.is_filled or self._is_surveyed():
            self._accept(shown)
        else:
            self._accept_requested = True

    def _accept(self, shown: _Shown) -> None:
        case, nodes = shown.case, self.nodes
        if not (self.changed or not case.is_filled or is_moved(nodes)):
            self._write(shown, None, None)
            return
        if not case.is_filled and nodes.volume is None:  # without it, what was painted is not known
            raise InputError("review_image_removed", name=case.name)
        self._tasks.start_copy(
            lambda: read_labels(nodes, case.label_map.segments).copied,
            partial(segmentation_version, nodes.segmentation),
            partial(self._write_copied, shown),
        )
        self._copying = True

    def _write_copied(self, shown: _Shown, labels: CaseLabels) -> None:
        self._copying = False
        history = None
        if not shown.case.is_filled:
            if not self._is_surveyed():  # painted while the labels were copied
                self._accept_requested = True
                return
            history = self._history()
            if history is None:
                raise InputError("review_unlabelled", name=shown.case.name)
        self._write(shown, labels, history)

    def _write(self, shown: _Shown, labels: CaseLabels | None, history: LabelHistory | None) -> None:
        case = shown.case
        version = segmentation_version(self.nodes.segmentation)

        def written(result: Acceptance) -> None:
            if self._shown is shown:
                shown.version, shown.case = version, result.case
            self._show_written(result)

        self._tasks.start(partial(_write_acceptance, case, labels, self.folder, history), written)

    def reset(self) -> None:
        """Begin to write that the case in the scene is not accepted; it is also removed from the task."""
        self._tasks.start(partial(reset_case, self._require_shown().case, self.folder, False), self._show_written)

    def flag(self) -> None:
        """Begin to write that the case in the scene needs another review; it is no longer accepted."""
        shown = self._require_shown()
        if not shown.case.is_filled:
            raise InputError("review_not_done", name=shown.case.name)
        self._tasks.start(partial(reset_case, shown.case, self.folder, True), self._show_written)

    def next(self) -> str | None:
        """Name of the case to review after the one in the scene; None if there is none."""
        table, current, following = self._next
        if table is not self._table or current != self.current:  # the panel asks at every tick
            following = self._table.next(self.current)
            self._next = (self._table, self.current, following)
        return following

    def poll(self) -> None:
        """Let the thread work for a moment, and apply the results of finished work to the scene.

        Raises
        ------
        InputError
            What was begun could not be done; the scene and the table are as they were.
        """
        try:
            self._tasks.poll()
            if self._accept_requested and self._is_surveyed():
                self._accept_requested = False
                self._accept(self._require_shown())
        except Exception as error:
            self._copying = False
            self._release_reading()
            raise as_input_error(error) from None

    def clear(self) -> None:
        """Remove the case from the scene; others may review it. Labels that are being copied are accepted first."""
        with suppress(InputError):  # they cannot be read: the case is not accepted
            while self._copying:
                self.poll()
        if self._shown is not None:
            self._shown.lock.release()
        self._remove()

    def close(self) -> None:
        """Remove the case from the scene and end the thread; files that are being written are completed."""
        self.clear()
        if self._reading is not None:
            self._reading.abandon()
        self._tasks.close()

    def _require_idle(self) -> None:
        if self.busy:
            raise InputError("review_busy")

    def _require_shown(self) -> _Shown:
        self._require_idle()
        if self._shown is None or self.nodes.segmentation is None:
            raise InputError("review_nothing")
        return self._shown

    def _show_written(self, result: Acceptance) -> None:
        """Show the table that was written; raise why the task was not changed."""
        self._set_table(result.table)
        if result.refusal is not None:
            raise result.refusal

    def _set_table(self, table: ReviewTable) -> None:
        self._table = table

    def _remove(self) -> None:
        remove_nodes(self._scene, self.nodes)
        self._shown, self._accept_requested = None, False

    def _show_case(self, found: tuple[ReviewedCase, ReviewTable, CaseImages]) -> None:
        case, table, images = found
        assert self._reading is not None
        lock = self._reading.lock
        assert lock is not None
        if self._shown is not None and self._shown.lock is not lock:
            self._shown.lock.release()
        self._remove()
        nodes = add_case_nodes(self._scene, case, images)
        version = segmentation_version(nodes.segmentation)
        self._shown = _Shown(case, lock, nodes.volume.GetID(), nodes.segmentation.GetID(), version)
        self._reading = None
        self._set_table(table)

    def _release_reading(self) -> None:
        """Release the lock of a case that could not be shown."""
        if self._reading is not None:
            self._reading.abandon()
            self._reading = None


def _read(reading: CaseReading) -> tuple[ReviewedCase, ReviewTable, CaseImages]:
    """Read a case and prepare what is shown of it; runs in the thread."""
    case, table = reading.read()
    return case, table, CaseImages.of_case(case.volume, case.label_map)


def _write_acceptance(
    case: ReviewedCase, labels: CaseLabels | None, folder: BatchFolder, history: LabelHistory | None
) -> Acceptance:
    """Accept a case with the labels that are in the scene if they were changed; runs in the thread."""
    corrected = labels.label_map(case.volume.geometry) if labels is not None else None
    if not case.is_filled and (corrected is None or not corrected.array.any()):
        raise InputError("review_unlabelled", name=case.name)
    return write_acceptance(case, corrected, folder, history)
