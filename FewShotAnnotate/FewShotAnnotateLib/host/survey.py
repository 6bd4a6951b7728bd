"""Survey: keeps track of which slices are painted, off the GUI thread and not at every brush stroke."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from ..core.axis import SliceAxis
from ..core.errors import InputError
from .background import Background
from .painted import SegmentExtent, segment_extents, slice_digests
from .record import PaintRecord
from .scene import SegmentationGrid, read_grid

Found = tuple[dict[str, SegmentExtent], dict[int, int]]
# Painting makes many changes a second; wait until it paused this long.
PAUSE_SECONDS = 0.4


class Survey:
    """Extents of a segmentation's segments, brought up to date in the background.

    Attributes
    ----------
    extents : dict
        Segment id -> SegmentExtent, as of the last finished look.
    grid : SegmentationGrid or None
    digests : dict
        Checksums now of the slices that an earlier run filled.
    error : InputError or None
        Why the segmentation cannot be looked at.
    """

    def __init__(self) -> None:
        self.extents: Mapping[str, SegmentExtent] = {}
        self.grid: SegmentationGrid | None = None
        self.digests: Mapping[int, int] = {}
        self.error: InputError | None = None
        self._background = Background("FewShotAnnotateSurvey")
        self._looking: tuple[SegmentationGrid, Future[Found]] | None = None
        self._wanted_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a look is due or under way."""
        return self._looking is not None or self._wanted_at is not None

    def request(self, pause: float = PAUSE_SECONDS) -> None:
        """Something changed: look again once nothing has changed for `pause` seconds."""
        self._wanted_at = time.monotonic() + pause

    def reset(self) -> None:
        """Forget everything, for another segmentation."""
        self.extents, self.digests, self.grid, self.error = {}, {}, None, None
        self._looking, self._wanted_at = None, None

    def poll(self, segmentation_node: Any, volume_node: Any) -> bool:
        """Begin or end a look; True if there is something new. Takes milliseconds."""
        self._background.give_turn()
        if self._looking is not None:
            grid, future = self._looking
            if not future.done():
                return False
            self._looking = None
            self.grid, (self.extents, self.digests) = grid, future.result()
            return True
        if self._wanted_at is None or time.monotonic() < self._wanted_at:
            return False
        self._wanted_at = None
        if segmentation_node is None or volume_node is None:
            return False
        try:
            grid = read_grid(segmentation_node, volume_node)
        except InputError as error:
            self.reset()
            self.error = error
            return True
        self.error = None
        self._looking = (grid, self._background.submit(look, grid, PaintRecord.of_node(segmentation_node)))
        return False

    def close(self) -> None:
        """Release the thread."""
        self.reset()
        self._background.close()


def look(grid: SegmentationGrid, record: PaintRecord) -> Found:
    """Extents of all segments, and checksums now of the slices an earlier run filled; touches no node."""
    extents = segment_extents(grid)
    if record.axis is None or any(name not in extents for name in record.filled_ids):
        return extents, {}  # with a segment gone, every slice would look corrected
    axis = SliceAxis(record.axis)
    filled = [index for index in record.filled if 0 <= index < axis.count(grid.geometry)]
    return extents, slice_digests(grid, record.filled_ids, axis, filled)
