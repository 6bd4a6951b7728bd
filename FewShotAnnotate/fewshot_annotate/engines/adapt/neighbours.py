"""Labelled slices next to query slices, and the extent of labels between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.gaps import support_indices_around
from .fusion import LabelExtent


def between(query: Sequence[int], labelled: Sequence[int]) -> list[int]:
    """Query slices between the outermost labelled ones."""
    return [index for index in query if labelled[0] < index < labelled[-1]]


def labelled_around(index: int, labelled: Sequence[int]) -> tuple[int, ...]:
    """The neighbouring labelled slices of a slice, or the slice itself if it is labelled."""
    return (
        (index,)
        if index in labelled
        else tuple(labelled[support_index] for support_index in support_indices_around(index, labelled))
    )


def nearest_and_extents(
    labelled: Sequence[int], areas: np.ndarray, index: int, growing_is_reliable: bool, tip_pixels: int
) -> tuple[int, np.ndarray]:
    """Number of slices to the nearest labelled slice, and the `LabelExtent` of each label, `[labels]`.

    `areas` are those of `CandidatePool`, `tip_pixels` that of `CandidateConfig`.
    """
    around = support_indices_around(index, labelled)
    shown = areas > 0
    extents = np.where(shown[around[0]] ^ shown[around[-1]], LabelExtent.ENDS, LabelExtent.CONTINUES)
    lone = (shown.sum(axis=0) == 1) & (growing_is_reliable | (areas.sum(axis=0) < tip_pixels))
    extents[(extents == LabelExtent.ENDS) & lone] = LabelExtent.SINGLE_SLICE
    return min(abs(index - labelled[support_index]) for support_index in around), extents


def spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spaced."""
    if len(values) <= count:
        return list(values)
    return [values[round(position)] for position in np.linspace(0, len(values) - 1, count)]
