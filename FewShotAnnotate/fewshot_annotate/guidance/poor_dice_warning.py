"""One warning about all labels of a result with a low expected Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.errors import Message
from .poor_dice import PoorLabel

# A line of the table, and of a terminal, stays short: at most so many characters of names, but at least one name.
MAX_CHARACTERS = 70
_MAX_NAME_CHARACTERS = 40


def poor_dice_warning(poor: Sequence[PoorLabel], names: Mapping[int, str]) -> Message | None:
    """One warning about all labels with a low expected Dice, the worst first; None if there are none.

    Parameters
    ----------
    poor : sequence of PoorLabel
    names : mapping of int to str
        Label value -> name of the segment.
    """
    worst = sorted(poor, key=lambda label: label.dice)
    if not worst:
        return None
    first = worst[0]
    name = _name(first, names)
    if len(worst) == 1:
        return first.message(name)
    segments = _listed([f"{_name(label, names)} {label.dice:.2f}" for label in worst])
    if first.slice is None:
        return Message("poor_dice_several", count=len(worst), segments=segments)
    return Message(
        "poor_dice_several_and_slice", count=len(worst), segments=segments, slice=first.slice, segment=name
    )


def _name(label: PoorLabel, names: Mapping[int, str]) -> str:
    name = names.get(label.label, str(label.label))
    return name if len(name) <= _MAX_NAME_CHARACTERS else f"{name[:_MAX_NAME_CHARACTERS]}..."


def _listed(names: Sequence[str]) -> str:
    """The first names, as many as are short together, and dots for the others."""
    count = 1
    while count < len(names) and len(", ".join(names[: count + 1])) <= MAX_CHARACTERS:
        count += 1
    return ", ".join([*names[:count], *(["..."] if count < len(names) else [])])
