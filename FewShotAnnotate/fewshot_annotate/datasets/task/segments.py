"""Matching of the segments of a case to those of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...core.errors import InputError
from ...core.volume import LabelMap, Segment, default_segment, present_values
from .task import TERMINOLOGY


def task_segments(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Segments of a new task: values 1, 2, ..., with names, colours and codes, and no other tags.

    Raises
    ------
    InputError
        Two have the same name.
    """
    names = [segment.name.casefold() for segment in segments]
    for segment in segments:
        if names.count(segment.name.casefold()) > 1:
            raise InputError("task_name_twice", segment=segment.name)
    return tuple(
        Segment(value=value, name=segment.name, colour=segment.colour, tags=terminology_of(segment))
        for value, segment in enumerate(segments, start=1)
    )


def present_segments(array: np.ndarray, segments: Sequence[Segment]) -> list[Segment]:
    """The segments of the values in a label array, by value; values without a segment get the default one."""
    named = {segment.value: segment for segment in segments}
    return [named.get(value, default_segment(value)) for value in present_values(array)]


def values_in_task(
    task_segments: Sequence[Segment], new_segments: Sequence[Segment], *, name: str, path: object = "The labels"
) -> dict[int, int]:
    """Label value in a task of each segment of a case.

    Segments are matched by name. If no segment of the case has a name, label values are those of the task.

    Raises
    ------
    InputError
        A segment is none of the task's.
    """
    by_name = {segment.name.casefold(): segment.value for segment in task_segments}
    if all(segment.name.casefold() in by_name for segment in new_segments):
        return {segment.value: by_name[segment.name.casefold()] for segment in new_segments}
    values = {segment.value for segment in task_segments}
    if all(
        segment.name == default_segment(segment.value).name and segment.value in values for segment in new_segments
    ):
        return {segment.value: segment.value for segment in new_segments}
    others = [segment.name for segment in new_segments if segment.name.casefold() not in by_name]
    raise InputError(
        "task_segments",
        path=path,
        name=name,
        other=", ".join(others),
        known=", ".join(segment.name for segment in task_segments),
    )


def with_values(array: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    """Labels of any shape with other values, uint8 or uint16; values that are not mapped become background."""
    dtype = np.min_scalar_type(max(values.values(), default=0))
    table = np.zeros(int(array.max(initial=0)) + 1, dtype=dtype)
    for old, new in values.items():
        if old < len(table):
            table[old] = new
    return np.asarray(table[array])


class TaskLabels:
    """Labels of a case in the values of a task, and back.

    Parameters
    ----------
    task_segments : sequence of Segment
    label_map : LabelMap or None
        Painted labels of the case; None if nothing is painted.
    name : str
        Of the task, for errors.
    path : object
        Names the labels in errors.

    Raises
    ------
    InputError
        A painted segment is none of the task's.
    """

    def __init__(
        self, task_segments: Sequence[Segment], label_map: LabelMap | None, *, name: str, path: object = "The labels"
    ) -> None:
        self._task_segments = task_segments
        present = [] if label_map is None else present_segments(label_map.array, label_map.segments)
        self._values = values_in_task(task_segments, present, name=name, path=path)
        painted = () if label_map is None else label_map.segments
        self._painted = {segment.value: self._named(segment) for segment in painted}
        for value in self._values:
            self._painted.setdefault(value, self._named(default_segment(value)))

    def of_task(self, label_map: LabelMap) -> LabelMap:
        """The painted labels with the values and segments of the task, named as in the case."""
        array = with_values(label_map.array, self._values)
        names = {new: self._painted[old].name for old, new in self._values.items()}
        segments = (replace(segment, name=names.get(segment.value, segment.name)) for segment in self._task_segments)
        return LabelMap(array, label_map.geometry, tuple(segments))

    def of_case(self, label_map: LabelMap) -> LabelMap:
        """Labels of the task with the values and segments of the case, so that painted voxels are as they were.

        Segments that were not painted keep the task's value, or get a free one.
        """
        if not self._painted:
            return label_map
        back = {new: old for old, new in self._values.items()}
        segments = dict(self._painted)
        used = set(segments)
        by_name = {segment.name.casefold(): segment.value for segment in reversed(self._painted.values())}
        for segment in self._task_segments:
            if segment.value in back:
                continue
            value = by_name.get(segment.name.casefold())
            if value is None:
                value = segment.value if segment.value not in used else max(used) + 1
            back[segment.value] = value
            used.add(value)
            segments.setdefault(value, replace(segment, value=value))
        ordered = tuple(segments[value] for value in sorted(segments))
        return LabelMap(with_values(label_map.array, back), label_map.geometry, ordered)

    def _named(self, segment: Segment) -> Segment:
        """A segment of the case; one without a name gets name, colour and code of the task's."""
        value = self._values.get(segment.value)
        if value is None or segment.name != default_segment(segment.value).name:
            return segment
        (counterpart,) = (other for other in self._task_segments if other.value == value)
        return replace(counterpart, value=segment.value)


def terminology_of(segment: Segment) -> dict[str, str]:
    """Tags with the terminology code of a segment, the only ones that a task keeps; empty if it has none."""
    return {TERMINOLOGY: segment.tags[TERMINOLOGY]} if segment.tags.get(TERMINOLOGY) else {}
