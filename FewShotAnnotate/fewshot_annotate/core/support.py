"""Support: the labelled slices along one axis, and which labels are annotated on each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .errors import InputError
from .gaps import SliceGap, gaps, support_indices_around
from .slice_axis import (
    AxisChoice,
    SliceAxis,
    axis_of_named_slices,
    detect_axis,
    labelled_indices,
    require_one_axis,
    resolve_axis,
)
from .sparse_array import copy_nonzero, sparse_zeros
from .volume import LabelMap, present_values


@dataclass(frozen=True)
class Support:
    """Labelled slices along one axis.

    Attributes
    ----------
    axis : SliceAxis
    indices : tuple of int, ascending
        The m labelled slices. A labelled slice may be empty: no structure is on it.
    masks : ndarray, shape [m, h, w], uint8 or uint16
        Label value of each pixel, 0 is background.
    labels : tuple of int, ascending
        The label values to fill.
    annotated : bool ndarray, shape [m, len(labels)]
        Whether a label is annotated on a slice. Where true, pixels without the label are *not* the label; where
        false, the label may be present on the slice although nobody painted it.
    """

    axis: SliceAxis
    indices: tuple[int, ...]
    masks: np.ndarray
    labels: tuple[int, ...]
    annotated: np.ndarray

    def __post_init__(self) -> None:
        if list(self.indices) != sorted(set(self.indices)):
            raise ValueError("slice indices must ascend without repeats")
        if len(self.masks) != len(self.indices) or self.annotated.shape != (len(self.indices), len(self.labels)):
            raise ValueError("indices, masks and annotated must agree in length")

    @classmethod
    def from_label_map(
        cls,
        label_map: LabelMap,
        axis: AxisChoice | None = None,
        labelled_slices: Sequence[int] | None = None,
        *,
        complete: bool = True,
        path: object = "The labels",
    ) -> Support:
        """Labelled slices of a label map.

        Parameters
        ----------
        label_map : LabelMap
        axis : SliceAxis or Plane, optional
            Detected from the labels if not given.
        labelled_slices : sequence of int, optional
            The labelled slices, empty ones among them. Default: those that hold any label.
        complete : bool
            True: a labelled slice is complete, so a label that is not on it is absent there.
            False: only the labels painted on a slice are annotated there; on an empty slice all are.
        path : object
            Name of the label map in errors.

        Raises
        ------
        InputError
            There is no labelled slice, the axis is ambiguous, or a slice does not exist.
        """
        array = label_map.array
        along = resolve_axis(axis, label_map.geometry)
        if along is None and labelled_slices is None:
            along = detect_axis(array, label_map.geometry, path)
        elif along is None:
            along = axis_of_named_slices(array, labelled_slices or (), label_map.geometry, path)
        elif labelled_slices is None and array.any():
            require_one_axis(array, along, path)
        slices = along.slices(array)
        if labelled_slices is None:
            indices = labelled_indices(array, along)
        else:
            indices = sorted({int(index) for index in labelled_slices})
            along.require_slices(indices, len(slices))
        masks = sparse_zeros((len(indices), *slices.shape[1:]), array.dtype)
        for mask, index in zip(masks, indices, strict=True):
            copy_nonzero(mask[None], slices[index][None])
        labels = present_values(masks) if indices else ()
        if not labels:
            raise InputError("no_labelled_slice", path=path)
        support = cls(along, tuple(indices), masks, labels, np.ones((len(indices), len(labels)), dtype=bool))
        return support if complete else support.partial(support.empty)

    @property
    def empty(self) -> np.ndarray:
        """Whether a labelled slice has no label on it, bool [m]."""
        return np.array([not mask.any() for mask in self.masks])

    def partial(self, empty: np.ndarray) -> Support:
        """The same support, on each slice of which only the painted labels are annotated.

        Parameters
        ----------
        empty : bool ndarray, shape [m]
            Slices on which all labels are annotated: nothing is painted on them, in no layer.
        """
        painted = np.array([[bool((mask == label).any()) for label in self.labels] for mask in self.masks])
        return replace(self, annotated=painted | empty[:, None])

    def subset(self, support_indices: Sequence[int]) -> Support:
        """The labelled slices at these support indices; the labels to fill stay the same."""
        chosen = list(support_indices)
        indices = tuple(self.indices[index] for index in chosen)
        return Support(self.axis, indices, self.masks[chosen], self.labels, self.annotated[chosen])

    def labelled_range(self) -> range:
        """Slices from the first to the last labelled one."""
        return range(self.indices[0], self.indices[-1] + 1)

    def unlabelled(self, slices: range) -> list[int]:
        """The slices of a range that are not labelled, ascending."""
        labelled = set(self.indices)
        return [index for index in slices if index not in labelled]

    def gaps(self, slices: Iterable[int]) -> Iterator[SliceGap]:
        """Group slices by the gap between labelled slices that they lie in; labelled ones are left out."""
        return gaps(slices, self.indices)

    def around(self, index: int) -> tuple[int, ...]:
        """Support indices of the nearest labelled slices before and after a slice, as far as there are any."""
        return support_indices_around(index, self.indices)

    def nearest_around(self, index: int) -> tuple[int, ...]:
        """As `around`, but the nearer slice first; of two at the same distance, the one before."""
        return tuple(sorted(self.around(index), key=lambda support_index: abs(self.indices[support_index] - index)))

    def one_hot(self, support_index: int, window: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
        """One-hot labels of a labelled slice, float32 `[len(labels) + 1, h, w]`, background first, in the window."""
        values = np.array([0, *self.labels])[:, None, None]
        one_hot: np.ndarray = (self.masks[(support_index, *window)] == values).astype(np.float32)
        return one_hot

    def annotated_around(self, index: int, label_index: int) -> tuple[int, ...]:
        """Support indices of the nearest slices before and after a slice on which a label is annotated.

        Parameters
        ----------
        index : int
            Slice index.
        label_index : int
            Position of the label in `labels`.
        """
        annotated = np.flatnonzero(self.annotated[:, label_index])
        around = support_indices_around(index, [self.indices[support_index] for support_index in annotated])
        return tuple(int(annotated[position]) for position in around)
