"""Coverage: small pictures that show which slices are labelled and how much of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import qt

STRIP_HEIGHT_PIXELS = 26
BAR_WIDTH_PIXELS, BAR_HEIGHT_PIXELS = 56, 10
_FRAME_PIXELS = 1
_TEXT_SHARE = 0.45  # contrast of 3 to 1 or more in both of Slicer's palettes, which WCAG 2 asks of graphics


def faint_colour(palette: Any) -> Any:
    """Colour of unobtrusive frames and bars, between those of text and background.

    `QPalette.Mid`, meant for that, is nearly the background's in Slicer's dark palette.
    """
    text, base = palette.color(qt.QPalette.Text), palette.color(qt.QPalette.Base)
    pairs = zip((text.redF(), text.greenF(), text.blueF()), (base.redF(), base.greenF(), base.blueF()), strict=True)
    return qt.QColor.fromRgbF(*(_TEXT_SHARE * component + (1 - _TEXT_SHARE) * other for component, other in pairs))


@dataclass(frozen=True)
class CoverageStrip:
    """All slices along an axis.

    Attributes
    ----------
    count : int
    labelled, filled : collections of int
        Slices that count as labelled, and those that a run filled.
    current : int
        Slice that the slice views show.
    """

    count: int
    labelled: Collection[int] = ()
    filled: Collection[int] = ()
    current: int = 0


def coverage_pixmap(strip: CoverageStrip, width: int, palette: Any) -> Any:
    """Pixmap of all slices from left to right: labelled ones tall, filled ones low, a line at the current one."""
    picture = qt.QPixmap(max(1, width), STRIP_HEIGHT_PIXELS)
    picture.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter(picture)
    inner = STRIP_HEIGHT_PIXELS - 2 * _FRAME_PIXELS
    low = inner // 3
    faint, strong = faint_colour(palette), palette.color(qt.QPalette.Highlight)
    for indices, colour, height in ((strip.filled, faint, low), (strip.labelled, strong, inner)):
        for index in indices:
            left, right = (round(edge * width / strip.count) for edge in (index, index + 1))
            painter.fillRect(left, STRIP_HEIGHT_PIXELS - _FRAME_PIXELS - height, max(2, right - left), height, colour)
    if strip.count:
        centre = round((strip.current + 0.5) * width / strip.count)
        painter.fillRect(centre, 0, 1, STRIP_HEIGHT_PIXELS, palette.color(qt.QPalette.Text))
    painter.setPen(faint_colour(palette))
    painter.drawRect(0, 0, max(1, width) - 1, STRIP_HEIGHT_PIXELS - 1)
    painter.end()
    return picture


def bar_icon(sections: Sequence[tuple[float, tuple[float, float, float]]], palette: Any) -> Any:
    """Icon of a bar with the segments of a slice side by side.

    Parameters
    ----------
    sections : sequence of (float, (float, float, float))
        Share of the whole bar, 0..1, and the colour (red, green, blue), 0..1.
    palette : QPalette
        Colours of the background and the frame.
    """
    picture = qt.QPixmap(BAR_WIDTH_PIXELS, BAR_HEIGHT_PIXELS)
    picture.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter(picture)
    left = 0.0
    for share, (red, green, blue) in sections:
        length = max(1.0, share * (BAR_WIDTH_PIXELS - 2))
        painter.fillRect(
            1 + int(left), 1, max(1, round(length)), BAR_HEIGHT_PIXELS - 2, qt.QColor.fromRgbF(red, green, blue)
        )
        left += length
    painter.setPen(faint_colour(palette))
    painter.drawRect(0, 0, BAR_WIDTH_PIXELS - 1, BAR_HEIGHT_PIXELS - 1)
    painter.end()
    return qt.QIcon(picture)


def dot_icon(colour: Any, hollow: bool = False) -> Any:
    """Icon of a dot, or of a ring."""
    picture = qt.QPixmap(12, 12)
    picture.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter(picture)
    painter.setRenderHint(qt.QPainter.Antialiasing)
    painter.setPen(qt.QPen(colour, 2))
    painter.setBrush(qt.QBrush(qt.Qt.NoBrush if hollow else colour))
    painter.drawEllipse(2, 2, 8, 8)
    painter.end()
    return qt.QIcon(picture)
