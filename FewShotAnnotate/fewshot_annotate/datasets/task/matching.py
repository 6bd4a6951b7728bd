"""Matching of a task to a volume: its slices as examples for an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...core.errors import InputError, Message
from ...core.labelled_example import Example
from ...core.slice_axis import SliceAxis
from ...core.support import Support
from ...core.volume import Geometry, Segment
from ...engines.registry import engine_class, engine_names
from .library import directions_of
from .task import Task


def require_library_engine(engine: str) -> str:
    """Name of the engine to use with a task; for 'auto', the first that supports it.

    Raises
    ------
    InputError
        The engine needs labelled slices of the same volume.
    """
    able = [name for name in engine_names() if engine_class(name).uses_library]
    if engine == "auto":
        engine = next((name for name in able if engine_class(name).unavailable_reason() is None), engine)
    chosen = engine_class(engine)
    if not chosen.uses_library:
        raise InputError("library_engine", engine=chosen.name, known=", ".join(able) or Message("none_here"))
    return chosen.name


def axis_of_plane(task: Task, geometry: Geometry) -> SliceAxis:
    """The axis along which a volume's slices lie in the task's plane."""
    axes = map(SliceAxis, range(3))
    return next(axis for axis in axes if axis.nearest_plane(geometry) == task.plane)


def examples_of(
    task: Task, geometry: Geometry, axis: SliceAxis, values: Mapping[int, int] | None = None
) -> list[Example]:
    """The slices of a task as examples, oriented as the slices of a volume along an axis.

    Parameters
    ----------
    task : Task
    geometry : Geometry
        Of the volume to fill.
    axis : SliceAxis
        Axis of its slices.
    values : mapping of int to int, optional
        New label value by label value in the task; missing ones become background. Default: unchanged.

    Raises
    ------
    InputError
        The slices lie in another patient plane, or the task is damaged.
    """
    plane = axis.nearest_plane(geometry)
    if plane != task.plane:
        raise InputError("library_plane", name=task.name, plane=task.plane, axis=axis.index, other=plane)
    if values is None:
        values = {segment.value: segment.value for segment in task.segments}
    values_by_label = np.zeros(len(task.segments) + 1, dtype=np.uint16)
    for label, value in values.items():
        values_by_label[label] = value
    target = directions_of(geometry, axis)
    examples = []
    for library_slice in task.slices:
        image, mask = task.pixels(library_slice)
        annotated = tuple(sorted(values[label] for label in library_slice.annotated if label in values))
        example = Example(
            image.astype(np.float32), values_by_label[mask], library_slice.spacing, library_slice.quantiles, annotated
        )
        examples.append(_reoriented(example, np.reshape(library_slice.directions, (3, 3)), target))
    return examples


def values_by_name(task: Task, segments: Sequence[Segment], labels: Sequence[int]) -> dict[int, int]:
    """Map label values of the task to those of a support, by segment name.

    Raises
    ------
    InputError
        No name is in both.
    """
    named = {segment.name.casefold(): segment.value for segment in segments if segment.value in labels}
    values = {
        segment.value: named[segment.name.casefold()] for segment in task.segments if segment.name.casefold() in named
    }
    if not values:
        names = ", ".join(segment.name for segment in task.segments)
        raise InputError("library_labels", name=task.name, known=names)
    return values


def empty_support(task: Task, geometry: Geometry, axis: SliceAxis) -> Support:
    """Support without labelled slices, with the labels of a task to fill."""
    labels = tuple(segment.value for segment in task.segments)
    _, height, width = axis.shape(geometry)
    masks = np.zeros((0, height, width), dtype=np.uint16)
    return Support(axis, (), masks, labels, np.zeros((0, len(labels)), dtype=bool))


def _reoriented(example: Example, source: np.ndarray, target: np.ndarray) -> Example:
    """Flip and transpose an example so that its rows and columns run as nearly as possible in target directions.

    Parameters
    ----------
    example : Example
    source, target : float ndarray, shape [3, 3]
        Unit vectors (LPS) of increasing slice, row and column index, of the example and of the result.
    """
    image, mask, spacing = example.image, example.mask, example.spacing
    rows, columns = source[1], source[2]
    straight = abs(rows @ target[1]) + abs(columns @ target[2])
    crossed = abs(rows @ target[2]) + abs(columns @ target[1])
    if crossed > straight:
        image, mask, spacing, rows, columns = image.T, mask.T, spacing[::-1], columns, rows
    if rows @ target[1] < 0:
        image, mask = image[::-1], mask[::-1]
    if columns @ target[2] < 0:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return replace(
        example, image=np.ascontiguousarray(image), mask=np.ascontiguousarray(mask), spacing=(spacing[0], spacing[1])
    )
