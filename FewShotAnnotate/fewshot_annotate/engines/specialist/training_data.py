"""The data of a training: its arguments, plan, folds and prepared examples, kept in files until it has ended."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.disk import unwritable_error
from ...core.errors import InputError, Message
from ...core.reading import DamagedContentError, read_json_as
from ...core.storage import write_bytes, write_json
from ...core.training_example import TrainingExample
from ..base import RunContext
from ..threads import max_threads
from .cross_validation import MAX_FOLDS, Split, fold_count, folds_of_patients, splits_by_fold
from .model_file import read_description, require_labels
from .plan import SpecialistPlan, make_plan
from .preparation import PreparedExample, prepared, summary

RECORD_FILE = "record.json"
# Fraction of the progress that loading and preparing the examples takes; the trainings follow.
LOADING_FRACTION = 0.03


@dataclass(frozen=True)
class TrainingArguments:
    """What determines a training; one that was interrupted is continued with the same arguments.

    Attributes
    ----------
    examples, labels, budget_seconds, start, seed
        As in `fit_specialist`; each of the examples is labelled.
    """

    examples: Sequence[TrainingExample]
    labels: int
    budget_seconds: float
    start: Path | None
    seed: int

    def fingerprint(self) -> str:
        """Digest of the arguments, from which patients cannot be identified."""
        described = [[example.patient, example.axis, example.labelled_slices] for example in self.examples]
        text = json.dumps([described, self.labels, self.budget_seconds, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()

    def patients(self) -> list[str]:
        """Patient of each example."""
        return [example.patient for example in self.examples]


@dataclass(frozen=True)
class UnfinishedTraining:
    """Record of a training that is continued only with the same arguments: their fingerprint, plan and folds.

    Attributes
    ----------
    fingerprint : str
    plan : SpecialistPlan
    folds : mapping of str to int
        Fold of each patient by digest.
    budget_seconds : float or None
        Time limit; None in the records of earlier versions.
    """

    fingerprint: str
    plan: SpecialistPlan
    folds: Mapping[str, int]
    budget_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values."""
        return {
            "fingerprint": self.fingerprint,
            "plan": self.plan.to_json(),
            "folds": dict(self.folds),
            "budget": self.budget_seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> UnfinishedTraining:
        """The inverse of `to_json`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        folds = {str(digest): int(fold) for digest, fold in data["folds"].items()}
        budget = data.get("budget")
        plan = SpecialistPlan.from_json(data["plan"])
        return cls(str(data["fingerprint"]), plan, folds, budget if isinstance(budget, (int, float)) else None)

    @classmethod
    def read(cls, path: Path) -> UnfinishedTraining | None:
        """The record of a file; None if it is missing or damaged."""
        try:
            return read_json_as(path, cls.from_json)
        except (OSError, DamagedContentError):
            return None


class ExampleCache:
    """Prepared examples of one training, in files that are mapped into memory.

    Parameters
    ----------
    folder : Path
        An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def holds(self, index: int) -> bool:
        """Whether an example has been written."""
        return self._path(index, "labels").is_file()

    def write(self, index: int, example: PreparedExample) -> None:
        """Write an example; raises `InputError` if that fails."""
        write_bytes(self._path(index, "image"), _bytes(example.image))
        write_bytes(self._path(index, "labels"), _bytes(example.labels))

    def read(self, index: int) -> PreparedExample:
        """An example whose arrays are read-only maps of the files."""
        image = np.load(self._path(index, "image"), mmap_mode="r")
        return PreparedExample(image, np.load(self._path(index, "labels"), mmap_mode="r"))

    def _path(self, index: int, kind: str) -> Path:
        return self._folder / f"{index}.{kind}.npy"


@dataclass(frozen=True)
class TrainingData:
    """Data that the networks of a task are trained on.

    Attributes
    ----------
    arguments : TrainingArguments
    record : UnfinishedTraining
    splits : sequence of Split
        One split for each network.
    cache : ExampleCache
    folder : Path
        Folder for checkpoints.
    """

    arguments: TrainingArguments
    record: UnfinishedTraining
    splits: Sequence[Split]
    cache: ExampleCache
    folder: Path

    @property
    def plan(self) -> SpecialistPlan:
        """Plan of the task."""
        return self.record.plan

    @property
    def patients(self) -> Sequence[str]:
        """Patient of each example."""
        return self.arguments.patients()


def prepare_training(arguments: TrainingArguments, folder: Path, context: RunContext) -> TrainingData:
    """Plan a training and prepare its examples, unless an earlier call with the same arguments did.

    Parameters
    ----------
    arguments : TrainingArguments
    folder : Path
        Folder for the record, the prepared examples and the checkpoints; that of another training is emptied.
    context : RunContext
        Receives progress up to `LOADING_FRACTION`, and a warning if only the time limit differs from before.

    Raises
    ------
    InputError
        As in `fit_specialist`.
    """
    record = UnfinishedTraining.read(folder / RECORD_FILE)
    if record is None or record.fingerprint != arguments.fingerprint():
        if record is not None:
            _warn_of_other_budget(record, arguments, context)
        shutil.rmtree(folder, ignore_errors=True)
        plan = _plan(arguments, context)
        record = UnfinishedTraining(arguments.fingerprint(), plan, _folds(arguments), arguments.budget_seconds)
        _make_folder(folder)
        write_json(folder / RECORD_FILE, record.to_json())
    cache = _cache(arguments, record.plan, folder / "examples", context)
    return TrainingData(arguments, record, splits_by_fold(arguments.patients(), record.folds), cache, folder)


def _warn_of_other_budget(record: UnfinishedTraining, arguments: TrainingArguments, context: RunContext) -> None:
    """Warn if a training that is lost differs from this one in nothing but its time limit."""
    earlier = record.budget_seconds
    if earlier is not None and replace(arguments, budget_seconds=earlier).fingerprint() == record.fingerprint:
        context.warn(Message("training_other_budget", earlier=earlier, seconds=arguments.budget_seconds))


def _plan(arguments: TrainingArguments, context: RunContext) -> SpecialistPlan:
    """Plan of the earlier model, or a new plan; checks the labels of the examples first."""
    examples, labels = arguments.examples, arguments.labels
    earlier = None
    if arguments.start is not None:
        earlier = require_labels(arguments.start, labels).plan
    present = np.zeros(labels + 1, dtype=bool)
    summaries = []
    for number, example in enumerate(examples, start=1):
        volume, array = example.load()
        if array.shape != volume.array.shape:
            raise InputError("training_grids_differ", number=number)
        example_summary = summary(volume, array, example)
        if example_summary.labels and example_summary.labels[-1] > labels:
            raise InputError("training_label_unknown", number=number, label=example_summary.labels[-1], labels=labels)
        present[list(example_summary.labels)] = True
        summaries.append(example_summary)
        context.report_progress(LOADING_FRACTION * number / len(examples) / 2)
    missing = np.flatnonzero(~present[1:]) + 1
    if len(missing):
        raise InputError("training_label_missing", label=int(missing[0]))
    return earlier or make_plan(summaries, labels)


def _folds(arguments: TrainingArguments) -> dict[str, int]:
    """Fold of each patient; patients of an earlier model keep their folds."""
    patients, seed = arguments.patients(), arguments.seed
    if arguments.start is not None:
        earlier = read_description(arguments.start)
        if 2 <= earlier.members <= len(set(patients)):
            return folds_of_patients(patients, earlier.members, seed, earlier.folds)
    return folds_of_patients(patients, fold_count(max_threads(MAX_FOLDS) * arguments.budget_seconds), seed)


def _cache(arguments: TrainingArguments, plan: SpecialistPlan, folder: Path, context: RunContext) -> ExampleCache:
    """Prepared examples; those that an earlier call prepared are kept."""
    _make_folder(folder)
    cache = ExampleCache(folder)
    for index, example in enumerate(arguments.examples):
        if not cache.holds(index):
            cache.write(index, prepared(*example.load(), example, plan))
        context.report_progress(LOADING_FRACTION * (1 + (index + 1) / len(arguments.examples)) / 2)
    return cache


def _make_folder(folder: Path) -> None:
    """Create a folder if it does not exist; raises `InputError` if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_error(folder, error) from None


def _bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
