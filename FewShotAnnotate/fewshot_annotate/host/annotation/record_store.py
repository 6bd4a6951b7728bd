"""Storage of an AnnotationRecord: one attribute of the segmentation node, which is saved with the scene."""

from __future__ import annotations

import json
from functools import lru_cache

from ...core.reading import DamagedContentError, decoding, parse_json
from ..mrml.node_types import ParameterNode, SegmentationNode
from .record import AnnotationRecord
from .record_json import record_from_json, record_to_json
from .record_of_version_0_1 import PAINTED_ATTRIBUTE, earlier_record, earlier_reviews

RECORD_ATTRIBUTE = "FewShotAnnotate.Slices"
# A stored record that cannot be read, perhaps of a later version, is kept here when another one takes its place.
UNREADABLE_ATTRIBUTE = "FewShotAnnotate.UnreadableSlices"


def read_record(node: SegmentationNode) -> AnnotationRecord:
    """The record of a segmentation node; an empty one if there is none or it cannot be read."""
    text = node.GetAttribute(RECORD_ATTRIBUTE)
    if text is None:
        return earlier_record(node)
    return _parsed(text) or AnnotationRecord()


def write_record(node: SegmentationNode, record: AnnotationRecord) -> None:
    """Write the record to a segmentation node."""
    text = json.dumps(record_to_json(record), separators=(",", ":"))
    before = node.GetAttribute(RECORD_ATTRIBUTE)
    if before == text:
        return
    if before and _parsed(before) is None:
        node.SetAttribute(UNREADABLE_ATTRIBUTE, before)
    node.SetAttribute(RECORD_ATTRIBUTE, text)


def take_over_earlier_reviews(parameter_node: ParameterNode) -> None:
    """Write records for the segmentations whose review is stored on the parameter node, as version 0.1 did.

    The review on the parameter node stays, but a scene that is loaded into this one may overwrite it.
    """
    for node in earlier_reviews(parameter_node):
        if node.GetAttribute(RECORD_ATTRIBUTE) is None:
            record = earlier_record(node)
            if record != AnnotationRecord():
                write_record(node, record)


def record_text(node: SegmentationNode) -> tuple[str | None, str | None]:
    """A value that changes with the record. Takes microseconds."""
    return node.GetAttribute(RECORD_ATTRIBUTE), node.GetAttribute(PAINTED_ATTRIBUTE)


@lru_cache(maxsize=8)
def _parsed(text: str) -> AnnotationRecord | None:
    """Parse a record; cached, because it is read many times between two changes."""
    try:
        with decoding():
            return record_from_json(parse_json(text))
    except DamagedContentError:
        return None
