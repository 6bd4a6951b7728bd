"""From the library to an engine: the slices of a task as examples for a volume of another patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.example import Example
from ..core.support import Support
from ..core.volume import Geometry, Segment
from ..engines import engine_class, engine_names
from .library import directions_of
from .library_task import LibraryTask


def require_library_engine(engine: str) -> str:
    """Name of the engine to use with a library task; for 'auto' the first one that can.

    Raises
    ------
    InputError
        It needs labelled slices of the same volume.
    """
    able = [name for name in engine_names() if engine_class(name).uses_library]
    if engine == "auto":
        engine = next((name for name in able if engine_class(name).cannot_run() is None), engine)
    chosen = engine_class(engine)
    if not chosen.uses_library:
        raise InputError("library_engine", engine=chosen.name, known=", ".join(able) or "none here")
    return chosen.name


def axis_of_plane(task: LibraryTask, geometry: Geometry) -> SliceAxis:
    """The axis along which a volume's slices lie in the task's plane."""
    axes = map(SliceAxis, range(3))
    return next(axis for axis in axes if _plane(geometry, axis) == task.plane)


def examples_of(
    task: LibraryTask, geometry: Geometry, axis: SliceAxis, values: Mapping[int, int] | None = None
) -> list[Example]:
    """The slices of a task, turned the way the slices of a volume along an axis lie.

    Parameters
    ----------
    geometry, axis
        Of the volume to fill.
    values : mapping of int to int, optional
        Label value in the task -> value to give; labels left out become background. Default: as they are.

    Raises
    ------
    InputError
        The slices lie in another patient plane, or the task is damaged.
    """
    plane = _plane(geometry, axis)
    if plane != task.plane:
        raise InputError("library_plane", name=task.name, plane=task.plane, axis=axis.index, other=plane)
    if values is None:
        values = {segment.value: segment.value for segment in task.segments}
    given = np.zeros(len(task.segments) + 1, dtype=np.uint16)
    for own, value in values.items():
        given[own] = value
    target = directions_of(geometry, axis)
    examples = []
    for one in task.slices:
        image, mask = task.pixels(one)
        known = tuple(sorted(values[label] for label in one.known if label in values))
        example = Example(image.astype(np.float32), given[mask], one.spacing, one.quantiles, known)
        examples.append(_turned(example, np.reshape(one.directions, (3, 3)), target))
    return examples


def values_by_name(task: LibraryTask, segments: Sequence[Segment], labels: Sequence[int]) -> dict[int, int]:
    """Label value in the task -> value in a support, for the labels that have the same name in both.

    Raises
    ------
    InputError
        There are none.
    """
    named = {segment.name.casefold(): segment.value for segment in segments if segment.value in labels}
    values = {one.value: named[one.name.casefold()] for one in task.segments if one.name.casefold() in named}
    if not values:
        known = ", ".join(segment.name for segment in task.segments)
        raise InputError("library_labels", name=task.name, known=known)
    return values


def empty_support(task: LibraryTask, geometry: Geometry, axis: SliceAxis) -> Support:
    """Support of a volume on which nothing is painted, with the task's labels to fill."""
    labels = tuple(segment.value for segment in task.segments)
    _, height, width = axis.shape(geometry)
    masks = np.zeros((0, height, width), dtype=np.uint16)
    return Support(axis, (), masks, labels, np.zeros((0, len(labels)), dtype=bool))


def _plane(geometry: Geometry, axis: SliceAxis) -> str:
    return axis.patient_name(geometry).removeprefix("oblique ")


def _turned(example: Example, own: np.ndarray, target: np.ndarray) -> Example:
    """An example whose rows and columns run in the patient directions that are nearest to the target's.

    Parameters
    ----------
    own, target : ndarray [3, 3]
        Directions of slices, rows and columns.
    """
    image, mask, spacing = example.image, example.mask, example.spacing
    rows, columns = own[1], own[2]
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
