"""Algorithm that created a segment: type, name, version and weights, stored as segment tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ..core.segment_tags import NAME_TAG, TYPE_TAG, VERSION_TAG, WEIGHTS_TAG
from ..core.volume import LabelMap, Segment

PRODUCT = "FewShotAnnotate"


class AlgorithmType(StrEnum):
    """DICOM's Segment Algorithm Type (0062,0008)."""

    MANUAL = "MANUAL"
    SEMIAUTOMATIC = "SEMIAUTOMATIC"
    AUTOMATIC = "AUTOMATIC"


@dataclass(frozen=True)
class Algorithm:
    """Algorithm that created a segment.

    Attributes
    ----------
    name, version : str
        Name and version of the engine, such as 'FewShotAnnotate propagate' and '0.1.0'.
    weights : str
        Name and checksum of its weights; empty if it has none.
    type : AlgorithmType
        SEMIAUTOMATIC for segments of which slices were painted and the others filled by an engine and reviewed.
    """

    name: str
    version: str
    weights: str = ""
    type: AlgorithmType = AlgorithmType.SEMIAUTOMATIC

    def tags(self) -> dict[str, str]:
        """Segment tags, from which `of_segment` reads the algorithm."""
        tags = {TYPE_TAG: str(self.type), NAME_TAG: self.name, VERSION_TAG: self.version, WEIGHTS_TAG: self.weights}
        return {name: text for name, text in tags.items() if text}


def tagged(layers: Sequence[LabelMap], algorithm: Algorithm) -> list[LabelMap]:
    """The layers, with the tags of the algorithm added to all segments."""
    tags = algorithm.tags()
    return [
        replace(layer, segments=tuple(replace(segment, tags={**segment.tags, **tags}) for segment in layer.segments))
        for layer in layers
    ]


def of_segment(segment: Segment) -> Algorithm | None:
    """Algorithm from a segment's tags; None if they do not name one."""
    tags = segment.tags
    name = tags.get(NAME_TAG, "")
    if not name or tags.get(TYPE_TAG) not in set(AlgorithmType):
        return None
    return Algorithm(name, tags.get(VERSION_TAG, ""), tags.get(WEIGHTS_TAG, ""), AlgorithmType(tags[TYPE_TAG]))
