"""Colours of labels that have a name and no colour: Slicer's for common structures, otherwise distinct ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from .palette import COLOUR_COUNT, MIN_CHROMA, Colour, cielab, label_colour
from .structures import structure_colour

# Distance in CIELAB below which two colours are hard to tell apart in outlines.
_MIN_COLOUR_DISTANCE = 12.0


def colours_by_name(names: Mapping[int, str], used: Iterable[Colour] = ()) -> dict[int, Colour]:
    """Colour of each label value, all distinct unless there are too many labels.

    A common structure has the colour of Slicer's terminology, unless that is nearly grey or too close to another one.

    Parameters
    ----------
    names : mapping of int to str
        Names by label value, which get their colours in the order of the values.
    used : iterable of Colour
        Colours of other labels.
    """
    taken = [_lab(colour) for colour in used]
    colours = {}
    for value in sorted(names):
        recommended = structure_colour(names[value])
        usable = recommended is not None and np.hypot(*_lab(recommended)[1:]) >= MIN_CHROMA
        candidates = [recommended] if recommended is not None and usable else []
        candidates += [label_colour(value + step) for step in range(COLOUR_COUNT)]
        apart = (colour for colour in candidates if _is_apart(_lab(colour), taken))
        colours[value] = next(apart, label_colour(value))
        taken.append(_lab(colours[value]))
    return colours


def _is_apart(lab: np.ndarray, others: Iterable[np.ndarray]) -> bool:
    return all(np.linalg.norm(lab - other) >= _MIN_COLOUR_DISTANCE for other in others)


def _lab(colour: Colour) -> np.ndarray:
    lab: np.ndarray = cielab(np.array(colour))
    return lab
