"""SegmentsTable: the segments of step 3, with what is painted of each, its volume, and whether it is filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import qt

from ...core.errors import InputError
from ..i18n import tr as _
from ..mrml.reading import is_locked
from .widgets import fit_height, select_rows, set_check_item, set_header, set_text_item

FILL, PAINTED, DICE, VOLUME, LOCKED = range(5)
MIN_ROWS = 2


@dataclass(frozen=True, kw_only=True)
class SegmentRow:
    """One segment.

    Attributes
    ----------
    id, name : str
    filled, locked : bool
        Whether a fill would fill it, and whether no fill may change it.
    painted : int
        Labelled slices with voxels of it.
    complete : bool
        Whether it has voxels, but was not painted slice by slice.
    dice : float or None
        Expected Dice of the last fill.
    millilitres : float
        Volume.
    """

    id: str
    name: str
    filled: bool
    locked: bool
    painted: int
    complete: bool
    dice: float | None
    millilitres: float


def segment_rows(node: Any, snapshot: Any, survey: Any) -> list[SegmentRow]:
    """All segments of a segmentation, in its order."""
    if node is None:
        return []
    selection, segmentation, extents = snapshot.selection, node.GetSegmentation(), survey.extents
    axis, labelled = selection.axis or 0, set(selection.labelled)
    dice = dict(snapshot.review.expected)
    voxel = survey.grid.geometry.voxel_ml if survey.grid is not None else 0.0
    rows = []
    for name in segmentation.GetSegmentIDs():
        segment, extent = segmentation.GetSegment(name), extents.get(name)
        slices = extent.slices[axis] if extent is not None else ()
        expected = dice.get(segment.GetName())
        rows.append(
            SegmentRow(
                id=name,
                name=segment.GetName(),
                filled=name in selection.segment_ids,
                locked=is_locked(segment),
                painted=len(labelled.intersection(slices)),
                complete=bool(slices) and extent.painted_axis is None,
                dice=expected.dice if expected is not None else None,
                millilitres=sum(extent.voxels[0]) * voxel if extent is not None else 0.0,
            )
        )
    return rows


def not_filled_text(rows: Sequence[SegmentRow]) -> str:
    """Which segments a fill would leave as they are, and why; empty if there are none."""
    reasons = []
    for row in rows:
        if row.locked:
            reasons.append(_("{name} (locked)").format(name=row.name))
        elif row.filled and not row.painted:
            reasons.append(_("{name} (not on a labelled slice)").format(name=row.name))
        elif not row.filled and not row.painted and not row.complete:
            reasons.append(_("{name} (nothing painted)").format(name=row.name))
        elif not row.filled:
            reasons.append(_("{name} (not ticked)").format(name=row.name))
    return _("Not filled: {segments}.").format(segments=", ".join(reasons)) if reasons else ""


class SegmentsTable:
    """Shows segments in a table.

    Parameters
    ----------
    table : QTableWidget
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._rows: tuple[Sequence[SegmentRow], Mapping[str, float]] | None = None
        titles = (_("Segments to fill"), _("Painted"), _("Dice"), _("ml"), _("Locked"))
        set_header(table, titles, wide=FILL)
        select_rows(table, qt.QAbstractItemView.SingleSelection)
        explained = {
            PAINTED: _("Labelled slices with voxels of the segment."),
            DICE: _("Dice to expect of the last fill."),
            VOLUME: _("Volume in millilitres, before the last fill and now."),
            LOCKED: _("A locked segment is never changed by a fill."),
        }
        for column, text in explained.items():
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
            table.horizontalHeaderItem(column).setToolTip(text)

    @property
    def chosen(self) -> str:
        """Id of the segment whose row is selected, empty if none is."""
        rows = [index.row() for index in self._table.selectionModel().selectedRows()]
        return self._rows[0][rows[0]].id if self._rows is not None and rows and rows[0] < len(self._rows[0]) else ""

    def show(self, rows: Sequence[SegmentRow], volumes_before: Mapping[str, float]) -> None:
        """Show segments, if something of them changed, with their volumes in ml before the last fill."""
        shown = (tuple(rows), dict(volumes_before))
        if shown == self._rows:
            return
        self._rows = shown
        table = self._table
        table.blockSignals(True)
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            refusal = InputError("segment_locked") if row.locked else None
            set_check_item(table, number, FILL, row.name, row.filled, row.id, refusal)
            set_text_item(table, number, PAINTED, str(row.painted))
            set_text_item(table, number, DICE, "" if row.dice is None else f"{row.dice:.2f}")
            set_text_item(table, number, VOLUME, _volumes(row, volumes_before.get(row.id)))
            set_check_item(table, number, LOCKED, "", row.locked, row.id)
        table.blockSignals(False)
        fit_height(table, MIN_ROWS)


def _volumes(row: SegmentRow, before: float | None) -> str:
    now = f"{row.millilitres:.1f}"
    earlier = now if before is None else f"{before:.1f}"
    return now if earlier == now else f"{earlier} > {now}"
