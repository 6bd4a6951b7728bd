"""Training of a task's networks: preparation, one network for each fold of patients, and how well they do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.disk import unwritable_error
from ...core.errors import InputError
from ...core.job import Device
from ...core.storage import write_json
from ...core.training_example import TrainingExample
from ..base import RunContext
from ..threads import max_threads
from .cross_validation import MAX_FOLDS, Split, fold_count, folds_of_patients, splits_by_fold
from .example_cache import ExampleCache
from .model_file import MODEL_FILE, read_description, read_report
from .plan import SpecialistPlan, make_plan
from .preparation import prepared, summary
from .report import SpecialistReport
from .unfinished_training import UnfinishedTraining, fingerprint

if TYPE_CHECKING:
    from .member_training import MemberConfig

# Holds checkpoints and prepared examples until the training has ended.
TRAINING_FOLDER = "training"
RECORD_FILE = "record.json"
# Share of the time limit that is kept for the evaluation of unseen patients and for writing.
EVALUATION_SHARE = 0.05
# Share of the progress that loading the examples takes.
_LOADING_PART = 0.03


@dataclass(frozen=True)
class Training:
    """What the networks of a task are trained on.

    Attributes
    ----------
    record : UnfinishedTraining
    splits : sequence of Split
        One for each network.
    patients : sequence of str
        Patient of each example.
    cache : ExampleCache
    folder : Path
        For checkpoints.
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

    Called again with the same arguments after the process was killed, it continues from the last checkpoint.

    Parameters
    ----------
    examples : sequence of TrainingExample
    labels : int
        Number of labels of the task, without background.
    folder : Path
        Created if it is not there. In the end it holds the model, which `RunContext.model` names.
    budget_seconds : float
        Time limit of the training, including cross-validation, over all calls that continue it.
    start : Path, optional
        Folder of a model with the same number of labels to start from, such as that before examples were added.
    seed : int
    device : Device
    context : RunContext
        Its progress, warnings and stop are used.
    config : MemberConfig, optional
        Default: that for this machine.

    Raises
    ------
    InputError
        Without labelled examples; a label that no example shows; other labels in the examples or in `start`; the
        folder cannot be written.
    Stopped
        The context asked to stop; the checkpoints stay, so that training can be continued.
    """
    examples = [example for example in examples if example.labelled_slices != ()]
    if not examples:
        raise InputError("training_no_examples")
    began = time.monotonic()
    record = fingerprint(examples, labels, budget_seconds, seed)
    work = folder / TRAINING_FOLDER
    if (folder / MODEL_FILE).is_file() and not work.exists() and read_description(folder).fingerprint == record:
        return read_report(folder)
    unfinished = UnfinishedTraining.read(work / RECORD_FILE, record)
    if unfinished is None:
        shutil.rmtree(work, ignore_errors=True)
    if unfinished is None:
        plan = _plan(examples, labels, start, context)
        unfinished = UnfinishedTraining(record, plan, _folds(examples, budget_seconds, start, seed))
        write_json(_made(work) / RECORD_FILE, unfinished.to_json())
    training = _prepare(examples, work, unfinished, context)
    from .ensemble_training import train_ensemble

    spent = time.monotonic() - began
    limits = Limits(max(1.0, budget_seconds * (1 - EVALUATION_SHARE) - spent), budget_seconds * EVALUATION_SHARE)
    report = train_ensemble(training, folder, limits, start, seed, device, context, config, began)
    shutil.rmtree(work, ignore_errors=True)
    return report


def _prepare(
    examples: Sequence[TrainingExample], work: Path, unfinished: UnfinishedTraining, context: RunContext
) -> Training:
    """Prepared examples, which are read if they are there, and splits."""
    cache = ExampleCache(_made(work / "examples"))
    for index, example in enumerate(examples):
        if not cache.holds(index):
            cache.write(index, prepared(*example.load(), example, unfinished.plan))
        context.report_progress(_LOADING_PART * (1 + (index + 1) / len(examples)) / 2)
    patients = [example.patient for example in examples]
    return Training(unfinished, splits_by_fold(patients, unfinished.folds), patients, cache, work)


def _folds(
    examples: Sequence[TrainingExample], budget_seconds: float, start: Path | None, seed: int
) -> dict[str, int]:
    """Fold of each patient; patients of an earlier model stay in theirs."""
    patients = [example.patient for example in examples]
    # A GPU trains one network after the other, as one core does.
    count = fold_count(max_threads(MAX_FOLDS) * budget_seconds)
    if start is not None:
        earlier = read_description(start)
        if 2 <= earlier.members <= len(set(patients)):
            return folds_of_patients(patients, earlier.members, seed, earlier.folds)
    return folds_of_patients(patients, count, seed)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_error(folder, error) from None
    return folder


def _plan(
    examples: Sequence[TrainingExample], labels: int, start: Path | None, context: RunContext
) -> SpecialistPlan:
    """Plan of an earlier model or a new one, after the labels were checked."""
    earlier = None
    if start is not None:
        from .model_file import require_labels

        earlier = require_labels(start, labels).plan
    shown = np.zeros(labels + 1, dtype=bool)
    summaries = []
    for number, example in enumerate(examples, start=1):
        volume, array = example.load()
        if array.shape != volume.array.shape:
            raise InputError("training_grids_differ", number=number)
        example_summary = summary(volume, array, example)
        if example_summary.labels and example_summary.labels[-1] > labels:
            raise InputError("training_label_unknown", number=number, label=example_summary.labels[-1], labels=labels)
        shown[list(example_summary.labels)] = True
        summaries.append(example_summary)
        context.report_progress(_LOADING_PART * number / len(examples) / 2)
    missing = np.flatnonzero(~shown[1:]) + 1
    if len(missing):
        raise InputError("training_label_missing", label=int(missing[0]))
    return earlier or make_plan(summaries, labels)
