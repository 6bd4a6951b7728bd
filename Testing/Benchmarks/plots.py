"""The benchmarks' plots. They need matplotlib, of the extra 'benchmark'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from methods import NEAREST_COPY, SHAPE_INTERPOLATION
from peers import FILL_BETWEEN_SLICES, GROW_FROM_SEEDS
from results import Point, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
# Our engines in saturated colours, the others in pale ones.
_STYLES: dict[str, dict[str, Any]] = {
    NEAREST_COPY: {"color": "0.65", "marker": "v"},
    SHAPE_INTERPOLATION: {"color": "0.65", "marker": "^", "linestyle": ":"},
    FILL_BETWEEN_SLICES: {"color": "#6b9bd1", "marker": "s"},
    GROW_FROM_SEEDS: {"color": "#1f4e8c", "marker": "D"},
    "propagate": {"color": "#e08214", "marker": "o"},
    "adapt": {"color": "#b2182b", "marker": "o"},
}


def style(method: str) -> dict[str, Any]:
    """Line style of a method; a variant such as 'propagate, suggest' is the dashed line of its first word."""
    name, _, variant = method.partition(", ")
    known = _STYLES.get(name, {"color": "#4d9221", "marker": "x"})
    return {**known, "markersize": 4, **({"linestyle": "--"} if variant else {})}


def plot_accuracy(path: Path, rows: Sequence[Row], methods: Sequence[str], over: str) -> None:
    """Mean Dice by the spacing of labelled slices, one panel a case; several starts of one spacing are averaged."""
    cases = list(dict.fromkeys(row.case for row in rows if row.dice(over) is not None))
    if not cases:
        return
    figure, panels = grid(len(cases))
    for case, panel in zip(cases, panels, strict=True):
        for method in methods:
            own = [row for row in rows if (row.case, row.method) == (case, method) and row.dice(over) is not None]
            spacings = sorted({row.spacing for row in own})
            dice = [np.mean([row.dice(over) for row in own if row.spacing == spacing]) for spacing in spacings]
            panel.plot(spacings, dice, label=method, **style(method))
        shown = sorted({row.spacing for row in rows})
        panel.set_xscale("log", base=2)
        panel.set_xticks(shown, [str(spacing) for spacing in shown])
        panel.set_title(case)
    finish(path, figure, panels, "every n-th slice labelled", "mean Dice")


def plot_curve(path: Path, points: Sequence[Point], levels: Sequence[float]) -> None:
    """Mean Dice by the number of labelled slices, one panel a case, with the levels to reach."""
    cases = list(dict.fromkeys(point.case for point in points))
    if not cases:
        return
    figure, panels = grid(len(cases))
    for case, panel in zip(cases, panels, strict=True):
        for method in dict.fromkeys(point.method for point in points):
            own = sorted((p.slices, p.dice) for p in points if (p.case, p.method) == (case, method))
            if own:
                panel.plot(*zip(*own, strict=True), label=method, **style(method))
        for level in levels:
            panel.axhline(level, color="0.4", linewidth=0.8, linestyle=":")
        most = max(point.slices for point in points if point.case == case)
        shown = [count for count in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96) if count <= most]
        panel.set_xscale("log", base=2)
        panel.set_xticks(shown, [str(count) for count in shown])
        panel.set_title(case)
    finish(path, figure, panels, "slices painted", "mean Dice on the other slices")


def grid(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, count)
    lines = -(-count // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(4.0 * columns, 2.8 * lines + 0.6), squeeze=False, layout="constrained"
    )
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def finish(path: Path, figure: Figure, panels: Sequence[Axes], x: str, y: str) -> None:
    """Axis names, one legend below, and write the PNG."""
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.minorticks_off()
    figure.supxlabel(x, fontsize="medium")
    figure.supylabel(y, fontsize="medium")
    entries = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=min(COLUMNS, len(panels)))
    figure.savefig(path, dpi=120)
