"""Whether it is time to train a task: how many examples its newest model has not seen."""

from __future__ import annotations

from dataclasses import dataclass

from .models import newest_model
from .task import Task

# The expected Dice comes from cross-validation over patients.
_MIN_PATIENTS = 2
# Fewer additional examples than this share of those trained on hardly change a model: see the table of Dice by number
# of accepted cases that Testing/Benchmarks/many.py prints.
_WORTHWHILE_SHARE = 0.25


@dataclass(frozen=True)
class TrainingAdvice:
    """State of a task's training.

    Attributes
    ----------
    examples : int
        Number of examples of the task.
    new : int
        Number of examples that the newest model has not seen.
    dice : float or None
        Mean expected Dice of the newest model on an unseen patient; None if it is not known.
    model : str
        Number of the newest model; empty if there is none of the task's segments.
    worthwhile : bool
        Whether the next cases would profit from a training now.
    """

    examples: int
    new: int
    dice: float | None
    model: str
    worthwhile: bool


def training_advice(task: Task) -> TrainingAdvice:
    """How a training of a task would change its model."""
    examples = len(task.examples) + len(task.slices)
    model = newest_model(task)
    if model is None or model.report is None or not model.fits(task):
        return TrainingAdvice(examples, examples, None, "", examples >= _MIN_PATIENTS)
    new = max(0, examples - model.record.examples)
    worthwhile = new > 0 and new >= _WORTHWHILE_SHARE * model.record.examples
    return TrainingAdvice(examples, new, model.report.mean_expected_dice, model.number, worthwhile)
