"""Models of a task: folders that training writes, and what they were trained on.

==============  ======================================================================================================
training.json   what the model is trained on; written before training begins, so that it can be continued
report.json     its Dice on patients not seen in training
cancel          its presence asks training to stop
==============  ======================================================================================================

`engines/specialist` says what else is in a folder. The weights are written last; a model that has them is finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...core import paths
from ...core.errors import InputError
from ...core.expected_dice import ExpectedDice
from ...core.reading import DamagedContentError, read_json_as
from ...core.storage import write_json
from ...core.volume import names_by_value
from ...engines.specialist.model_file import MODEL_FILE, read_report
from ...engines.specialist.report import SpecialistReport
from .task import Task

MODELS = "models"
TRAINING_FILE = "training.json"
CANCEL_FILE = "cancel"
_NUMBER = re.compile(r"\d{4}")
_RECORD_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """What a model is trained on.

    Attributes
    ----------
    segments : tuple of str
        Names of the segments, in the order of their label values.
    content : str
        Digest of all examples with their labels.
    examples : int
    start : str
        Number of the model from which training started; empty for none.
    program : str
        Version of this program.
    """

    segments: tuple[str, ...]
    content: str
    examples: int
    start: str = ""
    program: str = __version__

    @classmethod
    def of_task(cls, task: Task, start: str = "") -> TrainingRecord:
        """Record of a model to be trained on all examples of a task."""
        named = sorted(
            [
                *(
                    json.dumps(
                        [
                            example.digest,
                            example.patient,
                            example.axis,
                            example.labelled_slices,
                            *example.checksums.values(),
                        ]
                    )
                    for example in task.examples
                ),
                *(library_slice.digest for library_slice in task.slices),
            ]
        )
        content = hashlib.sha256("\n".join(named).encode()).hexdigest()
        segments = tuple(segment.name for segment in task.segments)
        return cls(segments=segments, content=content, examples=len(named), start=start)

    def write(self, folder: Path) -> None:
        """Write the record atomically."""
        write_json(folder / TRAINING_FILE, {"version": _RECORD_VERSION, **self.__dict__}, indent=1)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingRecord:
        """The inverse of `write`; raises ValueError, KeyError or TypeError if the data is no record."""
        if data["version"] != _RECORD_VERSION:
            raise ValueError("another version")
        return cls(
            segments=tuple(str(name) for name in data["segments"]),
            content=str(data["content"]),
            examples=int(data["examples"]),
            start=str(data["start"]),
            program=str(data["program"]),
        )


@dataclass(frozen=True)
class TaskModel:
    """A model of a task.

    Attributes
    ----------
    folder : Path
    record : TrainingRecord
    report : SpecialistReport or None
        None while training is not finished, or if the report is damaged or of another version.
    """

    folder: Path
    record: TrainingRecord
    report: SpecialistReport | None

    @property
    def number(self) -> str:
        """Four digits, which name its folder."""
        return self.folder.name

    @property
    def in_training(self) -> bool:
        """Whether its training is not finished."""
        return not paths.is_file(self.folder / MODEL_FILE)

    def fits(self, task: Task) -> bool:
        """Whether the model has the segments of a task as they are now."""
        return self.record.segments == tuple(segment.name for segment in task.segments)

    def expected(self, task: Task) -> list[tuple[str, ExpectedDice]]:
        """Expected Dice on an unseen patient, by name of the segment."""
        expected = [] if self.report is None else list(self.report.expected_dice)
        names = names_by_value(task.segments)
        return [(names[label_dice.label], label_dice) for label_dice in expected if label_dice.label in names]


def task_models(task: Task) -> list[TaskModel]:
    """Models of a task, oldest first; damaged ones are left out."""
    folders = [entry for entry in paths.entries(task.folder / MODELS) if _NUMBER.fullmatch(entry.name)]
    return [model for model in map(_model, folders) if model is not None]


def newest_model(task: Task) -> TaskModel | None:
    """The newest finished model of a task; None if there is none."""
    finished = [model for model in task_models(task) if model.report is not None]
    return finished[-1] if finished else None


def require_model(task: Task) -> TaskModel:
    """The newest finished model of a task.

    Raises
    ------
    InputError
        The task has none, or the model is damaged, of another version or was trained on other segments.
    """
    finished = [model for model in task_models(task) if not model.in_training]
    if not finished:
        raise InputError("task_untrained", name=task.name)
    return _fitting(finished[-1], task)


def required_model(task: Task, number: str) -> TaskModel:
    """The finished model of a task with this number; raises as `require_model`."""
    model = next((model for model in task_models(task) if model.number == number), None)
    if model is None or model.in_training:
        raise InputError("task_untrained", name=task.name)
    return _fitting(model, task)


def _fitting(model: TaskModel, task: Task) -> TaskModel:
    if not model.fits(task):
        raise InputError(
            "task_model_segments",
            name=task.name,
            number=model.number,
            other=", ".join(model.record.segments),
            known=", ".join(segment.name for segment in task.segments),
        )
    read_report(model.folder)
    return model


def _model(folder: Path) -> TaskModel | None:
    try:
        record = read_json_as(folder / TRAINING_FILE, TrainingRecord.from_json)
    except (OSError, DamagedContentError):
        return None
    model = TaskModel(folder, record, None)
    if model.in_training:
        return model
    with contextlib.suppress(InputError):
        return replace(model, report=read_report(folder))
    return model
