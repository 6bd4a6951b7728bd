"""Reading what version 0.1 stored of slices: painted ones on the segmentation node, reviews on the parameter node.

A node reference leads from each review to its segmentation, because loading a scene changes the ids of nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ...core.reading import DamagedContentError, decoding, parse_json
from ..mrml.node_types import ParameterNode, SegmentationNode
from .record import AnnotationRecord, AxisRecord, SliceRecord, SliceStatus
from .record_json import axis_from_json, fill_from_json

PAINTED_ATTRIBUTE = "FewShotAnnotate.PaintedSlices"
REVIEW_PREFIX = "review."
_PARAMETER_NODE = ("FewShotAnnotate", "vtkMRMLScriptedModuleNode")


def earlier_record(node: SegmentationNode) -> AnnotationRecord:
    """The record that version 0.1 stored of a segmentation; an empty one if there is none or it cannot be read."""
    scene = node.GetScene()
    parameter_node: Any = scene.GetSingletonNode(*_PARAMETER_NODE) if scene is not None else None
    reviews = (parameter_node.GetParameter(name) for name, other in _reviews(parameter_node) if other is node)
    return _record(node.GetAttribute(PAINTED_ATTRIBUTE) or "", next(reviews, ""))


def earlier_reviews(parameter_node: ParameterNode | None) -> list[Any]:
    """Segmentation nodes whose review is stored on the parameter node."""
    return [node for _, node in _reviews(parameter_node)]


def _reviews(parameter_node: ParameterNode | None) -> Iterator[tuple[str, Any]]:
    """Name and segmentation node of each review."""
    if parameter_node is not None:
        for name in parameter_node.GetParameterNames():
            node = parameter_node.GetNodeReference(name) if name.startswith(REVIEW_PREFIX) else None
            if node is not None:
                yield name, node


@lru_cache(maxsize=8)
def _record(painted: str, review: str) -> AnnotationRecord:
    """The record from both texts."""
    record, slices = AnnotationRecord(), AxisRecord()
    if painted:
        with suppress(DamagedContentError), decoding():
            record, slices = _painted(parse_json(painted))
    if review:
        with suppress(DamagedContentError), decoding():
            axes: dict[int | None, AxisRecord] = {
                int(axis): axis_from_json(entry, _slice) for axis, entry in parse_json(review).items()
            }
            record = replace(record, axes=axes)
    return record.with_along(record.axis, _joined(slices, record.present))


def _joined(painted: AxisRecord, reviewed: AxisRecord) -> AxisRecord:
    """Painted slices and review of one axis; the checksums of another choice of segments are not comparable."""
    segment_ids = painted.segment_ids or reviewed.segment_ids
    labelled = {
        index: SliceRecord(
            record.labelled,
            reviewed.at(index).status,
            reviewed.at(index).accepted,
            record.states,
            reviewed.at(index).fills,
        )
        for index, record in painted.slices.items()
    }
    together = replace(reviewed, segment_ids=segment_ids)
    return together.with_slices(labelled)


def _painted(data: Mapping[str, Any]) -> tuple[AnnotationRecord, AxisRecord]:
    axis = data.get("axis")
    chosen = {str(name): bool(fill) for name, fill in data.get("chosen", {}).items()}
    record = AnnotationRecord(int(axis) if axis in (0, 1, 2) else None, chosen)
    slices = AxisRecord(segment_ids=tuple(str(name) for name in data.get("filled_ids", ())))
    filled = {int(index): tuple(map(int, states)) for index, states in data.get("filled", {}).items()}
    slices = slices.with_slices({index: SliceRecord(states=states) for index, states in filled.items()})
    for name, labelled in (("marked", True), ("left_out", False)):
        for index in data.get(name, ()):
            slices = slices.with_labelled(int(index), labelled)
    return record, slices


def _slice(data: Any) -> SliceRecord:
    status, accepted, fills = data
    parsed = tuple(fill_from_json(fill) for fill in fills)
    return SliceRecord(None, SliceStatus(status), None if accepted is None else int(accepted), (), parsed)
