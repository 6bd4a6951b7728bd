"""Training of the networks of a task: preparation, cross-validation over patients, and writing the model."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.disk import unwritable_error
from ...core.errors import InputError, Message
from ...core.job import Device
from ...core.reading import DamagedContentError, read_json_as
from ...core.storage import write_bytes, write_json
from ...core.training_example import TrainingExample
from ..base import RunContext
from ..threads import max_threads
from .cross_validation import MAX_FOLDS, Split, fold_count, folds_of_patients, splits_by_fold
from .model_file import MODEL_FILE, read_description, read_report, require_labels
from .plan import SpecialistPlan, make_plan
from .preparation import PreparedExample, prepared, summary
from .report import SpecialistReport

if TYPE_CHECKING:
    from .member_training import MemberConfig

# Holds checkpoints and prepared examples until the training has ended.
TRAINING_FOLDER = "training"
RECORD_FILE = "record.json"
# Fraction of the time limit that is reserved for the evaluation on held-out patients and for writing.
EVALUATION_FRACTION = 0.05
# Fraction of the progress that loading and preparing the examples takes; the trainings follow.
LOADING_FRACTION = 0.03


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
class Training:
    """Data that the networks of a task are trained on.

    Attributes
    ----------
    record : UnfinishedTraining
    splits : sequence of Split
        One split for each network.
    patients : sequence of str
        Patient of each example.
    cache : ExampleCache
    folder : Path
        Folder for checkpoints.
    """

    record: UnfinishedTraining
    splits: Sequence[Split]
    patients: Sequence[str]
    cache: ExampleCache
    folder: Path

    @property
    def plan(self) -> SpecialistPlan:
        """Plan of the task."""
        return self.record.plan


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds, of the training and of the evaluation that follows."""

    training: float
    evaluation: float


def fit_specialist(
    examples: Sequence[TrainingExample],
    labels: int,
    folder: Path,
    *,
    budget_seconds: float,
    start: Path | None = None,
    seed: int = 0,
    device: Device = Device.AUTO,
    context: RunContext = RunContext(),
    config: MemberConfig | None = None,
) -> SpecialistReport:
    """Train networks on the examples of a task and write them to a folder.

    A call with the same arguments after the process was killed continues from the last checkpoints.

    Parameters
    ----------
    examples : sequence of TrainingExample
    labels : int
        Number of labels of the task, without background.
    folder : Path
        Folder for the model, which is created if it does not exist; see `RunContext.model`.
    budget_seconds : float
        Time limit of the training, including cross-validation and calls that were interrupted.
    start : Path, optional
        Folder of a model with the same number of labels to start from, such as one trained on fewer examples.
    seed : int
    device : Device
    context : RunContext
        Receives progress and warnings, and can stop the training.
    config : MemberConfig, optional

    Raises
    ------
    InputError
        No example is labelled; no example shows one of the labels; the labels of an example are on another grid than
        its volume; an example or `start` has other labels; the device is not available; or the folder cannot be
        written.
    Stopped
        The context stopped the training. The checkpoints are kept, so that it can be continued.
    """
    examples = [example for example in examples if example.labelled_slices != ()]
    if not examples:
        raise InputError("training_no_examples")
    began = time.monotonic()
    record = fingerprint(examples, labels, budget_seconds, seed)
    work = folder / TRAINING_FOLDER
    if (folder / MODEL_FILE).is_file() and not work.exists() and read_description(folder).fingerprint == record:
        return read_report(folder)
    unfinished = UnfinishedTraining.read(work / RECORD_FILE)
    if unfinished is None or unfinished.fingerprint != record:
        earlier = None if unfinished is None else unfinished.budget_seconds
        if (
            unfinished is not None
            and earlier is not None
            and fingerprint(examples, labels, earlier, seed) == unfinished.fingerprint
        ):
            context.warn(Message("training_other_budget", earlier=earlier, seconds=budget_seconds))
        shutil.rmtree(work, ignore_errors=True)
        plan = _plan(examples, labels, start, context)
        unfinished = UnfinishedTraining(record, plan, _folds(examples, budget_seconds, start, seed), budget_seconds)
        _make_folder(work)
        write_json(work / RECORD_FILE, unfinished.to_json())
    training = _prepare(examples, work, unfinished, context)
    from .ensemble_training import train_ensemble

    spent = time.monotonic() - began
    limits = Limits(
        max(1.0, budget_seconds * (1 - EVALUATION_FRACTION) - spent), budget_seconds * EVALUATION_FRACTION
    )
    report = train_ensemble(training, folder, limits, start, seed, device, context, config, began)
    shutil.rmtree(work, ignore_errors=True)
    return report


def _prepare(
    examples: Sequence[TrainingExample], work: Path, unfinished: UnfinishedTraining, context: RunContext
) -> Training:
    """Training with prepared examples; those that an earlier call prepared are kept."""
    _make_folder(work / "examples")
    cache = ExampleCache(work / "examples")
    for index, example in enumerate(examples):
        if not cache.holds(index):
            cache.write(index, prepared(*example.load(), example, unfinished.plan))
        context.report_progress(LOADING_FRACTION * (1 + (index + 1) / len(examples)) / 2)
    patients = [example.patient for example in examples]
    return Training(unfinished, splits_by_fold(patients, unfinished.folds), patients, cache, work)


def _folds(
    examples: Sequence[TrainingExample], budget_seconds: float, start: Path | None, seed: int
) -> dict[str, int]:
    """Fold of each patient; patients of an earlier model keep their folds."""
    patients = [example.patient for example in examples]
    count = fold_count(max_threads(MAX_FOLDS) * budget_seconds)
    if start is not None:
        earlier = read_description(start)
        if 2 <= earlier.members <= len(set(patients)):
            return folds_of_patients(patients, earlier.members, seed, earlier.folds)
    return folds_of_patients(patients, count, seed)


def _make_folder(folder: Path) -> None:
    """Create a folder if it does not exist; raises `InputError` if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_error(folder, error) from None


def _plan(
    examples: Sequence[TrainingExample], labels: int, start: Path | None, context: RunContext
) -> SpecialistPlan:
    """Plan of the earlier model, or a new plan; checks the labels of the examples first."""
    earlier = None
    if start is not None:
        earlier = require_labels(start, labels).plan
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


def _bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def fingerprint(examples: Sequence[TrainingExample], labels: int, budget_seconds: float, seed: int) -> str:
    """Fingerprint of the arguments of a training, from which patients cannot be identified."""
    described = [[example.patient, example.axis, example.labelled_slices] for example in examples]
    text = json.dumps([described, labels, budget_seconds, seed])
    return hashlib.sha256(text.encode()).hexdigest()
