"""Training of a task's networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core.job import Device
from ...core.training_example import TrainingExample
from ..base import RunContext
from .report import SpecialistReport


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

    Raises
    ------
    InputError
        Without labelled examples; a label that no example shows; other labels in the examples or in `start`; the
        folder cannot be written.
    Stopped
        The context asked to stop; the checkpoints stay, so that training can be continued.
    """
    raise NotImplementedError
