"""Overview of a data set: its task, the state of the training, and the number of cases to fill."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import InputError
from .batch_folder import BatchFolder
from .case_table import ReviewState
from .listed_cases import dataset_task
from .reviewing import ReviewTable
from .task.advice import TrainingAdvice, training_advice
from .task.library import task_folder
from .task.task import read_task

_WAITING = (ReviewState.TO_DO, ReviewState.FILLED, ReviewState.FLAGGED)


@dataclass(frozen=True)
class Overview:
    """A data set.

    Attributes
    ----------
    task : str
        Name or path of its task; empty if none was chosen.
    advice : TrainingAdvice or None
        None if there is no task.
    to_fill : int
        Number of cases that the newest model of the task has not filled and that nobody has accepted or corrected.
    error : InputError or None
        Why the task cannot be read.
    """

    task: str = ""
    advice: TrainingAdvice | None = None
    to_fill: int = 0
    error: InputError | None = None

    @property
    def is_trained(self) -> bool:
        """Whether the task has a model of its segments."""
        return self.advice is not None and bool(self.advice.model)


def read_overview(folder: BatchFolder, table: ReviewTable) -> Overview:
    """Read the state of a data set whose table was just read."""
    name = ""
    try:
        name = dataset_task(folder)
        if not name:
            return Overview()
        advice = training_advice(read_task(task_folder(name), folder.memo))
    except InputError as error:
        return Overview(name, error=error)
    waiting = [row.name for row in table.rows if row.state in _WAITING and row.name in table.listed]
    to_fill = sum(_is_to_fill(folder, case, advice.model) for case in waiting) if advice.model else len(waiting)
    return Overview(name, advice, to_fill)


def _is_to_fill(folder: BatchFolder, name: str, model: str) -> bool:
    files = folder.case(name)
    record = files.read_record()
    return record is None or (record[1].get("model") != model and not files.seems_corrected())
