"""DatasetController: a data set in Slicer. Its cases are reviewed, filled in the background, and train its task.

Nothing blocks: files are read and written in threads, models work in processes, and `poll` follows them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...core.errors import InputError, Message
from ...core.job import Device
from ...datasets.accepting import LabelHistory
from ...datasets.background import FillingProcess, TrainingProcess, filling_request, training_request
from ...datasets.batch_folder import BatchFolder
from ...datasets.found_volumes import find_volumes
from ...datasets.listed_cases import add_volumes, create_dataset, set_dataset_task
from ...datasets.overview import Overview, read_overview
from ...datasets.reviewing import ReviewTable
from ...datasets.task.library import create_task, task_folder, task_names
from ..diagnostics.unexpected_errors import as_input_error
from ..mrml.node_types import Scene
from ..tasks import BackgroundTasks
from .case_review import CaseReview
from .child_process import ChildProcess


@dataclass(frozen=True)
class AddedVolumes:
    """Numbers of what was found in a folder of volumes.

    Attributes
    ----------
    added, listed : int
        New cases, and volumes that were cases already.
    label_maps : int
        Files that look like label maps, which were left out.
    """

    added: int
    listed: int
    label_maps: int


class DatasetController:
    """One data set at a time.

    Parameters
    ----------
    scene
        The MRML scene.
    python : str
        Program that runs the background processes.
    device : function
        Returns the device of an engine.
    history : function
        Returns the provenance of the labels of the case in the scene, for a case that no batch filled.
    is_surveyed : function
        Advances the survey of what was painted by a step; returns whether the last stroke is known.

    Attributes
    ----------
    review : CaseReview or None
        Of the data set that is open.
    filling, training : ChildProcess
    overview : Overview
        As it was read last.
    error : Message or str or None
        Why cases are not being filled, though they could be.
    added : AddedVolumes or None
        What was added last; None while nothing was.
    """

    def __init__(
        self,
        scene: Scene,
        python: str = sys.executable,
        device: Callable[[str], Device] = lambda _: Device.AUTO,
        history: Callable[[], LabelHistory | None] = lambda: None,
        is_surveyed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.review: CaseReview | None = None
        self.filling = ChildProcess(FillingProcess, python)
        self.training = ChildProcess(TrainingProcess, python)
        self.overview = Overview()
        self.added: AddedVolumes | None = None
        self._scene = scene
        self._device = device
        self._history = history
        self._is_surveyed = is_surveyed
        self._tasks = BackgroundTasks("Dataset")
        self._fills_by_itself = True
        self._fill_wanted = self._reload_wanted = False
        self._fills_next = False  # whether to check for waiting cases once the present fill has ended
        self._table: ReviewTable | None = None  # the one that `overview` is about

    @property
    def busy(self) -> bool:
        """Whether something is under way that `poll` follows."""
        return self.working or self.filling.busy or self.training.busy

    @property
    def working(self) -> bool:
        """Whether files are being read or written."""
        review = self.review
        unread = review is not None and (review.busy or self._reload_wanted or review.table is not self._table)
        return self._tasks.has_pending_results or unread

    @property
    def error(self) -> Message | str | None:
        """Why the last fill or training failed."""
        return self.training.error or self.filling.error

    def open(self, path: str | Path) -> None:
        """Open a data set or batch, or make a data set of an empty folder.

        Raises
        ------
        InputError
            The folder holds other files, or cannot be written. What was open stays so.
        """
        folder = create_dataset(path)
        review = CaseReview(self._scene, folder.path, self._history, self._is_surveyed)
        if self.review is not None and self.review.folder.path != folder.path:
            self.filling.cancel()
        self.close_dataset()
        self.review = review
        self._fills_by_itself = self._fill_wanted = True

    def close_dataset(self) -> None:
        """Close the data set; background processes continue."""
        if self.review is not None:
            self.review.close()
        self.review = None
        self.overview, self.added, self._table = Overview(), None, None
        self._tasks.cancel()

    def choose_task(self, name: str) -> None:
        """Choose the task of the data set; one of a new name is created.

        Raises
        ------
        InputError
            The name cannot be one, or the data set cannot be written.
        """
        folder = self._opened().folder
        if name not in task_names() and not _is_task(name):
            create_task(name)
        set_dataset_task(folder, name)
        self._invalidate_overview(fill=True)

    def add(self, images: str | Path) -> None:
        """Begin to look for volumes in a folder, and to add them as cases; `poll` raises what goes wrong."""
        folder = self._opened().folder
        self.added = None
        self._tasks.start(partial(_add, folder, Path(images)), self._was_added)

    def fill(self) -> None:
        """Start to fill the cases that wait, in the background."""
        self._fills_by_itself = True
        self._start_filling()

    def stop_filling(self) -> None:
        """Stop filling; filled cases stay."""
        self._fills_by_itself = False
        self.filling.cancel()

    def train(self, seconds: float) -> None:
        """Start to train the task, or to continue that, in the background.

        Raises
        ------
        InputError
            No task was chosen.
        """
        if not self.overview.task:
            raise InputError("dataset_no_task")
        folder = task_folder(self.overview.task)
        self.training.start(training_request(folder, seconds, str(self._device("specialist"))))

    def next(self) -> None:
        """Begin to show the next case; following ones are filled meanwhile, unless the user stopped that."""
        review = self._opened()
        name = review.next()
        if name is not None:
            review.show(name)
            self._fill_if_useful()

    def refresh(self) -> None:
        """Begin to read table and task again."""
        if not self.working:
            self._opened().reload()

    def poll(self) -> None:
        """One bounded step.

        Raises
        ------
        InputError
            What was begun could not be done.
        """
        try:
            self._tasks.poll()
        except Exception as error:
            raise as_input_error(error) from None
        if self.training.poll() and not self.training.busy:
            self._invalidate_overview(fill=True)
        if self.filling.poll():
            self._reload_wanted = True
            self._fill_wanted = self._fill_wanted or (self._fills_next and not self.filling.busy)
        review = self.review
        if review is None:
            return
        if self._reload_wanted and not review.busy:
            self._reload_wanted = False
            review.reload()
        review.poll()
        if not review.busy and not self._reload_wanted and review.table is not self._table:
            self._read_overview(review)

    def close(self) -> None:
        """Close everything for good."""
        self.close_dataset()
        for process in (self.filling, self.training):
            process.close()
        self._tasks.close()

    def _opened(self) -> CaseReview:
        if self.review is None:
            raise InputError("no_batch_open")
        return self.review

    def _invalidate_overview(self, fill: bool) -> None:
        """Read the state of the task again; then fill cases, if some wait."""
        self._table = None
        self._fill_wanted = self._fill_wanted or fill

    def _read_overview(self, review: CaseReview) -> None:
        """Begin to read the state of the task, and which cases wait to be filled."""
        self._table = review.table
        wanted, self._fill_wanted = self._fill_wanted, False

        def keep(overview: Overview) -> None:
            self.overview = overview
            if wanted:
                self._fill_if_useful()

        self._tasks.start(partial(read_overview, review.folder, review.table), keep)

    def _was_added(self, added: AddedVolumes) -> None:
        self.added = added
        self._fill_wanted = self._reload_wanted = True

    def _fill_if_useful(self) -> None:
        useful = self.overview.is_trained and self.overview.to_fill
        if useful and self._fills_by_itself and not self.training.busy:
            self._fills_next = self.filling.busy  # of another data set, or by an older model
            self._start_filling()

    def _start_filling(self) -> None:
        request = filling_request(self._opened().folder.path, str(self._device("specialist")))
        self.filling.start(request)


def _add(folder: BatchFolder, images: Path) -> AddedVolumes:
    found = find_volumes(images)
    added = len(add_volumes(folder, found.volumes))
    return AddedVolumes(added, len(found.volumes) - added, len(found.label_maps))


def _is_task(name: str) -> bool:
    try:
        task_folder(name)
    except InputError:
        return False
    return True
