"""Plot of Dice against support size. Needs matplotlib, of the extra 'report'."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinguishable with any colour vision (Okabe and Ito 2008); the first ones are for the built-in engines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#8B6F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DPI = 160
_PANELS_PER_ROW = 3
# Minimum distance of the names at the ends of the lines, as a fraction of the axis.
_MIN_LABEL_GAP_FRACTION = 0.055


class Plotted(Protocol):
    """A point of a curve: an engine's Dice at a support size, and the ends of its band."""

    @property
    def engine(self) -> str:
        """Name of the engine."""

    @property
    def size(self) -> int:
        """Number of labelled slices."""

    @property
    def dice(self) -> float:
        """Mean Dice, 0..1."""

    @property
    def least(self) -> float:
        """Lower end of its interval."""

    @property
    def most(self) -> float:
        """Upper end of its interval."""


def colour_of(engine: str, engines: Sequence[str]) -> str:
    """The same colour for an engine in plot, table and pictures."""
    return COLOURS[engines.index(engine) % len(COLOURS)]


def curve_png(panels: Mapping[str, Sequence[Plotted]], engines: Sequence[str]) -> bytes:
    """PNG with one panel for each title: Dice by support size, with a band.

    Parameters
    ----------
    panels : mapping of title to points
    engines : sequence of str
        All engines, in an order that is the same in plot, tables and pictures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_PANELS_PER_ROW, len(panels))
    rows = -(-len(panels) // columns)
    width, height = (7.2, 4.0) if len(panels) == 1 else (3.9 * columns, 3.3 * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    lowest = min(point.least for points in panels.values() for point in points)
    for number, (title, points) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        _curve(axes, points, engines, lowest)
        axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
        if number % columns == 0:
            axes.set_ylabel("mean Dice on held-out slices")
        if number >= len(panels) - columns:
            axes.set_xlabel("painted slices (support size)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _curve(axes: Axes, points: Sequence[Plotted], engines: Sequence[str], lowest: float) -> None:
    sizes = sorted({point.size for point in points})
    bottom = max(0.0, round(lowest - 0.08, 1)) if lowest > 0.2 else 0.0
    ends = []
    for engine in engines:
        curve = sorted((point for point in points if point.engine == engine), key=lambda point: point.size)
        if not curve:
            continue
        position = engines.index(engine)
        colour, marker = COLOURS[position % len(COLOURS)], MARKERS[position % len(MARKERS)]
        x, y = [point.size for point in curve], [point.dice for point in curve]
        axes.fill_between(
            x, [point.least for point in curve], [point.most for point in curve], color=colour, alpha=0.15, lw=0
        )
        axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.8)
        ends.append((y[-1], x[-1], engine, colour))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom, 1.0)
    axes.set_xlim(sizes[0] / 1.15, max(sizes[-1], sizes[0] * 1.5) * 1.15)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    gap = _MIN_LABEL_GAP_FRACTION * (1.0 - bottom)
    ends.sort()
    for height, (last, size, engine, colour) in zip(_spread_out([end[0] for end in ends], gap), ends, strict=True):
        axes.annotate(
            engine,
            xy=(size, last),
            xytext=(1.02, height),
            textcoords=("axes fraction", "data"),
            color=colour,
            va="center",
            fontsize="small",
            annotation_clip=False,
        )


def _spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights, moved until neighbours are at least `gap` apart and none is above 1."""
    moved = list(heights)
    for number in range(1, len(moved)):
        moved[number] = max(moved[number], moved[number - 1] + gap)
    ceiling = 1.0
    for number in reversed(range(len(moved))):
        moved[number] = min(moved[number], ceiling)
        ceiling = moved[number] - gap
    return moved
