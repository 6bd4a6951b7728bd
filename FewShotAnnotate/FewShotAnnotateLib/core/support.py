"""Support: the labelled slices along one axis, and what each of them says about each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .axis import SliceAxis, detect_axis, labelled_indices, require_one_axis
from .errors import InputError
from .volume import LabelMap, present_values


@dataclass(frozen=True)
class Support:
    """Labelled slices along one axis.

    Attributes
    ----------
    axis : SliceAxis
    indices : tuple of int, ascending
        The m labelled slices. A slice may be labelled and empty ("nothing here").
    masks : ndarray, shape [m, h, w], uint8 or uint16
        Label value of each pixel, 0 is background.
    labels : tuple of int, ascending
        The label values to fill.
    known : bool ndarray, shape [m, len(labels)]
        Whether a slice speaks about a label: where true, pixels without the label are *not* the label; where
        false, the label was just not painted there and the slice says nothing about it.
    """

    axis: SliceAxis
    indices: tuple[int, ...]
    masks: np.ndarray
    labels: tuple[int, ...]
    known: np.ndarray

    def __post_init__(self) -> None:
        if list(self.indices) != sorted(set(self.indices)):
            raise ValueError("slice indices must ascend without repeats")
        if len(self.masks) != len(self.indices) or self.known.shape != (len(self.indices), len(self.labels)):
            raise ValueError("indices, masks and known must agree in length")

    @classmethod
    def from_label_map(
        cls,
        label_map: LabelMap,
        axis: SliceAxis | None = None,
        labelled_slices: Sequence[int] | None = None,
        *,
        complete: bool = True,
        path: object = "The labels",
    ) -> Support:
        """Labelled slices of a label map.

        Parameters
        ----------
        label_map : LabelMap
        axis : SliceAxis, optional
            Detected from the labels if not given.
        labelled_slices : sequence of int, optional
            The labelled slices, empty ones among them. Default: those that hold any label.
        complete : bool
            True: a labelled slice is complete, so a label that is not on it is absent there.
            False: a slice speaks only about the labels painted on it; an empty one speaks about all.
        path : object
            Named in errors.

        Raises
        ------
        InputError
            No labelled slice, labels on crossing axes, a slice that does not exist.
        """
        array = label_map.array
        if axis is None:
            axis = _axis_of(label_map, labelled_slices, path)
        elif labelled_slices is None and array.any():
            require_one_axis(array, axis, path)
        slices = axis.slices(array)
        if labelled_slices is None:
            indices = labelled_indices(array, axis)
        else:
            indices = sorted({int(index) for index in labelled_slices})
            for index in indices:
                if not 0 <= index < len(slices):
                    raise InputError("slice_out_of_range", index=index, axis=axis.index, last=len(slices) - 1)
        masks = np.ascontiguousarray(slices[indices])
        labels = present_values(masks) if indices else ()
        if not labels:
            raise InputError("no_labelled_slice", path=path)
        support = cls(axis, tuple(indices), masks, labels, np.ones((len(indices), len(labels)), dtype=bool))
        return support if complete else support.partial(support.empty)

    @property
    def empty(self) -> np.ndarray:
        """Whether nothing is painted on a labelled slice, bool [m]."""
        return np.array([not mask.any() for mask in self.masks])

    def partial(self, empty: np.ndarray) -> Support:
        """The same, but each slice speaks only about the labels painted on it.

        Parameters
        ----------
        empty : bool ndarray, shape [m]
            Slices that speak about all labels: nothing is painted on them, in other layers neither.
        """
        painted = np.array([[bool((mask == label).any()) for label in self.labels] for mask in self.masks])
        return replace(self, known=painted | empty[:, None])

    def only(self, rows: Sequence[int]) -> Support:
        """The labelled slices of these numbers alone; the labels to fill stay the same."""
        indices = tuple(self.indices[row] for row in rows)
        return Support(self.axis, indices, self.masks[list(rows)], self.labels, self.known[list(rows)])

    def range_between(self) -> range:
        """Slices from the first to the last labelled one."""
        return range(self.indices[0], self.indices[-1] + 1)

    def unlabelled(self, slices: range) -> list[int]:
        """The slices of a range that are not labelled, ascending."""
        labelled = set(self.indices)
        return [index for index in slices if index not in labelled]


def _axis_of(label_map: LabelMap, labelled_slices: Sequence[int] | None, path: object) -> SliceAxis:
    """Axis of the labels. With slices named, the axis on which no other slice holds a label, if there is one."""
    if labelled_slices is None:
        return detect_axis(label_map.array, label_map.geometry, path)
    named = set(labelled_slices)
    fitting = [a for a in range(3) if named.issuperset(labelled_indices(label_map.array, SliceAxis(a)))]
    # A fully labelled volume fits no axis: then it was most likely acquired along its thickest spacing.
    spacing = SliceAxis(0).spacing(label_map.geometry)
    return SliceAxis(min(fitting or range(3), key=lambda a: (-round(spacing[a], 3), a)))
