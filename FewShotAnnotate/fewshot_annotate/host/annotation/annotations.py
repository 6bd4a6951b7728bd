"""SliceAnnotations: the one owner of what is known of each slice of a segmentation.

What was stored (`record`) and what was found in the voxels (`survey`) are combined in one snapshot, which is computed
again only after one of them has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ...core.slice_axis import SliceAxis, thickest_axis
from ...datasets.accepting import LabelHistory
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid_reader import GridReader
from ..mrml.node_types import SegmentationNode
from ..mrml.reading import segments_left_out
from .record import AnnotationRecord
from .record_store import read_record, record_text, write_record
from .snapshot import AnnotationSnapshot, Selection, review_view, select
from .survey import Survey


class SliceAnnotations:
    """Which slices are painted, empty, filled, corrected, accepted and flagged.

    Attributes
    ----------
    grids : GridReader
        Reads the voxels, for all that work on the same segmentation.
    survey : Survey
        Follows the voxels of the chosen segmentation.
    """

    def __init__(self) -> None:
        self.grids = GridReader()
        self.survey = Survey(self.grids)
        self._made_from: tuple[object, ...] | None = None
        self._snapshot = AnnotationSnapshot()
        self._reads_once = False
        self._read_of: tuple[object, ...] | None = None  # the node last read within `read_once`

    @contextmanager
    def read_once(self) -> Iterator[None]:
        """Within the block, names, locks and record of the segments are read once, and again after a write."""
        outer, self._reads_once = self._reads_once, True
        try:
            yield
        finally:
            self._reads_once = outer
            if not outer:
                self._read_of = None

    def snapshot(self, segmentation_node: SegmentationNode) -> AnnotationSnapshot:
        """What is known now; the same object as long as nothing has changed. Takes microseconds.

        Parameters
        ----------
        segmentation_node : vtkMRMLSegmentationNode or None
            The surveyed segmentation.
        """
        if segmentation_node is None:
            return AnnotationSnapshot()
        read_of = (segmentation_node.GetID(), segmentation_node.GetMTime(), self.survey.result)
        if self._reads_once and self._read_of is not None and _same(self._read_of, read_of):
            return self._snapshot
        self._read_of = read_of
        names, left_out = _segment_names(segmentation_node), segments_left_out(segmentation_node)
        source = (segmentation_node.GetID(), record_text(segmentation_node), names, left_out, self.survey.result)
        if self._made_from is None or not _same(self._made_from, source):
            self._snapshot = self._make(read_record(segmentation_node), dict(names), left_out)
            self._made_from = source
        return self._snapshot

    def change(
        self, segmentation_node: SegmentationNode, change: Callable[[AnnotationRecord], AnnotationRecord]
    ) -> None:
        """Change the record of a segmentation."""
        write_record(segmentation_node, change(read_record(segmentation_node)))

    def label_history(self, nodes: ChosenNodes, engine: str) -> LabelHistory | None:
        """Provenance of the labels of a case that was painted and filled in the panel, for its record.

        Parameters
        ----------
        nodes : ChosenNodes
        engine : str
            The engine that is chosen.

        Returns
        -------
        LabelHistory or None
            None as long as the grid of the labels is not known.
        """
        grid = self.survey.grid
        if not nodes.complete or grid is None:
            return None
        record = read_record(nodes.segmentation)
        # Locking and hiding come and go; what was painted stays painted.
        selection = self._select(record, dict(_segment_names(nodes.segmentation)), ())
        filled = set(record.present.filled)
        axis = selection.axis
        if axis is None or not filled:
            axis = thickest_axis(grid.geometry).index if axis is None else axis
            filled, engine = set(), ""
        labelled = set(selection.labelled)
        slices = range(SliceAxis(axis).count(grid.geometry))
        painted = tuple(index for index in slices if not filled or index in labelled)
        return LabelHistory(axis=SliceAxis(axis), painted=painted, engine=engine)

    def clear(self) -> None:
        """Clear survey and snapshot, before the scene is closed; the record is saved in the scene."""
        self.survey.reset()
        self._made_from, self._read_of, self._snapshot = None, None, AnnotationSnapshot()

    def close(self) -> None:
        """Release the thread."""
        self.clear()
        self.survey.close()

    def poll(self, nodes: ChosenNodes) -> bool:
        """Start or finish a survey; True if there may be something new to show. Takes milliseconds."""
        surveyed = self.survey.poll(nodes)
        if surveyed and nodes.segmentation is not None:
            self._store_remaining(nodes.segmentation)
        return surveyed

    def _store_remaining(self, segmentation_node: SegmentationNode) -> None:
        """Store what the survey found after the removal of a segment, with which later surveys compare."""
        result, record = self.survey.result, read_record(segmentation_node)
        present = record.present
        current = result.grid is not None and (result.axis, result.segment_ids) == (record.axis, present.segment_ids)
        if current and result.remaining != present.remaining:
            changed = replace(present, remaining=result.remaining)
            write_record(segmentation_node, record.with_along(record.axis, changed))

    def _make(
        self, record: AnnotationRecord, names: Mapping[str, str], left_out: tuple[str, ...]
    ) -> AnnotationSnapshot:
        selection = self._select(record, names, left_out)
        review = review_view(record, self.survey.result.checksums_for(record), names)
        if self._snapshot.review == review:
            review = self._snapshot.review
        return AnnotationSnapshot(record, selection, review)

    def _select(self, record: AnnotationRecord, names: Mapping[str, str], left_out: tuple[str, ...]) -> Selection:
        survey = self.survey.result
        if survey.grid is None:
            return Selection()
        extents = {name: extent for name, extent in survey.extents.items() if name in names}
        return select(extents, record, survey.grid.geometry.shape, left_out, survey.checksums_for(record))


def _segment_names(node: SegmentationNode) -> tuple[tuple[str, str], ...]:
    """Segment id and name of each segment."""
    segmentation = node.GetSegmentation()
    return tuple((key, segmentation.GetSegment(key).GetName()) for key in segmentation.GetSegmentIDs())


def _same(first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    """Whether a snapshot can be used again; surveys are compared by identity, because they hold arrays."""
    return first[:-1] == second[:-1] and first[-1] is second[-1]
