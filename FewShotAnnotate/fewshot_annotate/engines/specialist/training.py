"""Training of the networks of a task: preparation, cross-validation over patients, and writing the model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import InputError
from ...core.job import Device
from ...core.training_example import TrainingExample
from ..base import RunContext
from .model_file import MODEL_FILE, read_description, read_report
from .report import SpecialistReport
from .training_data import TrainingArguments, prepare_training

if TYPE_CHECKING:
    from .member_training import MemberConfig

# Holds checkpoints and prepared examples until the training has ended.
TRAINING_FOLDER = "training"
# Fraction of the time limit that is reserved for the evaluation on held-out patients and for writing.
EVALUATION_FRACTION = 0.05


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
    began = time.monotonic()
    labelled = [example for example in examples if example.labelled_slices != ()]
    if not labelled:
        raise InputError("training_no_examples")
    arguments = TrainingArguments(labelled, labels, budget_seconds, start, seed)
    work = folder / TRAINING_FOLDER
    is_written = (folder / MODEL_FILE).is_file() and not work.exists()
    if is_written and read_description(folder).fingerprint == arguments.fingerprint():
        return read_report(folder)
    training = prepare_training(arguments, work, context)
    from .ensemble_training import Limits, train_ensemble

    evaluation_seconds = EVALUATION_FRACTION * budget_seconds
    training_seconds = max(1.0, budget_seconds - evaluation_seconds - (time.monotonic() - began))
    limits = Limits(began, training_seconds, evaluation_seconds)
    report = train_ensemble(training, folder, limits, device, context, config)
    shutil.rmtree(work, ignore_errors=True)
    return report
