"""SlicePositions: positions of slices as in the slice views, to be shown with or instead of their indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.errors import Message
from ...core.slice_axis import SliceAxis
from ..mrml.node_types import SegmentationNode
from ..mrml.views import slice_positions

# Placeholders of messages that hold the number of a slice.
_SLICE_NUMBERS = ("first", "last", "labelled", "index")


class SlicePositions:
    """Positions of the slices of a segmentation, computed again when its grid, its transform or the axis changes."""

    def __init__(self) -> None:
        self._source: tuple[object, ...] | None = None
        self._positions: list[str] = []

    def update(self, node: SegmentationNode, grid: Any, axis: SliceAxis) -> Sequence[str]:
        """Positions such as 'S: 376.3' by slice number; empty while there is no segmentation or grid."""
        source = None
        if node is not None and grid is not None:
            source = (node.GetID(), node.GetTransformNodeID(), axis, grid.geometry, grid.first)
        if source != self._source:
            self._source = source
            self._positions = slice_positions(node, grid, axis) if source is not None else []
        return self._positions


def slice_text(index: int, positions: Sequence[str]) -> str:
    """Number and position of a slice, such as '12 (S: 376.3)'."""
    return f"{index} ({positions[index]})" if 0 <= index < len(positions) else str(index)


def with_positions(message: Message, positions: Sequence[str]) -> Message:
    """The same message with a position behind each number of a slice."""
    numbers = {name: message.data[name] for name in _SLICE_NUMBERS if isinstance(message.data.get(name), int)}
    return message.with_data(**{name: slice_text(index, positions) for name, index in numbers.items()})
