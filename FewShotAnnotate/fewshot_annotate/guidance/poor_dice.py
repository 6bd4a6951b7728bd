"""Labels with a low expected Dice, and for each of them the slice whose labelling would improve it most."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import Message
from ..core.expected_dice import ExpectedDice
from ..core.support import Support
from .suggestion import suggest
from .uncertainty import Uncertainty

# Below this Dice, structures are often missed or displaced as a whole.
POOR_DICE = 0.7


@dataclass(frozen=True)
class PoorLabel:
    """A label with a low expected Dice.

    Attributes
    ----------
    label : int
    dice : float
        Expected Dice.
    slice : int or None
        Index of the slice to label next. None if no slice is left; without labelled slices, None if the label is on
        no slice.
    """

    label: int
    dice: float
    slice: int | None

    def message(self, segment: str) -> Message:
        """Message about the label, whose name is `segment`, and the slice to label next."""
        dice = f"{self.dice:.2f}"
        if self.slice is None:
            return Message("poor_dice", segment=segment, dice=dice)
        return Message("poor_dice_and_slice", segment=segment, dice=dice, slice=self.slice)


def poor_labels(
    support: Support,
    expected: Sequence[ExpectedDice],
    labels: np.ndarray,
    confidence: np.ndarray,
    slices: Sequence[int],
) -> list[PoorLabel]:
    """Labels with an expected Dice below `POOR_DICE`, in the order of `expected`.

    Parameters
    ----------
    support : Support
    expected : sequence of ExpectedDice
    labels : integer ndarray, shape [n, h, w]
        Result of the fill, as slices along the axis of the support.
    confidence : float ndarray, shape [n, h, w]
        Probability of each voxel's label, 0..1.
    slices : sequence of int
        The filled slices.
    """
    poor = [
        label_dice for label_dice in expected if label_dice.dice < POOR_DICE and label_dice.label in support.labels
    ]
    if not poor:
        return []
    if not support.indices:
        return [
            PoorLabel(
                label_dice.label, label_dice.dice, _least_certain_slice(labels, confidence, label_dice.label, slices)
            )
            for label_dice in poor
        ]
    names = [str(label) for label in support.labels]
    predictions = ((index, labels[index], confidence[index]) for index in slices)
    uncertainty = Uncertainty.from_labels(support, names, predictions)
    return [
        PoorLabel(label_dice.label, label_dice.dice, _next_slice(uncertainty, support.labels.index(label_dice.label)))
        for label_dice in poor
    ]


def _least_certain_slice(labels: np.ndarray, confidence: np.ndarray, label: int, slices: Sequence[int]) -> int | None:
    """The slice with the largest expected number of wrong voxels in a label; None if the label is nowhere."""
    errors = {index: float((1 - confidence[index])[labels[index] == label].sum()) for index in slices}
    index = max(errors, key=errors.__getitem__, default=None)
    return index if index is not None and errors[index] > 0 else None


def _next_slice(uncertainty: Uncertainty, label_index: int) -> int | None:
    """The slice to label next for one label, by its index."""
    column = slice(label_index, label_index + 1)
    of_label = dataclasses.replace(
        uncertainty,
        names=uncertainty.names[column],
        present=uncertainty.present[:, column],
        expected_errors=uncertainty.expected_errors[:, column],
        expected_sizes=uncertainty.expected_sizes[:, column],
    )
    suggested = suggest(of_label, 1)
    return suggested[0].index if suggested else None
