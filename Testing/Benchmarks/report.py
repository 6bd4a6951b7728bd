"""Summary and tables of the accuracy benchmark, for the terminal and as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from methods import RIVALS
from results import LabelRow, Row, calibration, compare
from rich.console import Console
from rich.table import Table
from scores import MIN_VOXELS, mean

Cells = list[list[str]]
_RANGES = {"between": "between the labelled slices", "all": "all unlabelled slices"}


def print_report(
    rows: Sequence[Row], label_rows: Sequence[LabelRow], methods: Sequence[str], engines: Sequence[str], over: str
) -> None:
    """Print the tables by setting and by method, then the summary."""
    console = Console(width=150)
    for title, (head, *body) in _tables(rows, label_rows, methods, over):
        table = Table(*head, title=title)
        for cells in body:
            table.add_row(*cells)
        console.print(table)
    for line in summary(rows, label_rows, engines, over):
        print(line)


def write_markdown(
    path: Path,
    rows: Sequence[Row],
    label_rows: Sequence[LabelRow],
    methods: Sequence[str],
    engines: Sequence[str],
    over: str,
) -> None:
    """Write what `print_report` prints as a markdown file."""
    parts = []
    for title, cells in _tables(rows, label_rows, methods, over):
        parts += [f"{title}:", "", *markdown_table(cells), ""]
    for line in summary(rows, label_rows, engines, over):
        parts.append(f"  - {line.strip()}" if line.startswith(" ") else f"- {line}")
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def markdown_table(cells: Cells) -> list[str]:
    """Lines of a markdown table; the first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    return [head, "|---" * len(cells[0]) + "|", *body]


def summary(rows: Sequence[Row], label_rows: Sequence[LabelRow], engines: Sequence[str], over: str) -> list[str]:
    """Each engine against the best rival, and its expected Dice and confidence against the truth."""
    lines = [
        "HD95 of a label that only truth or only the result has counts as the diagonal of its box",
        *_left_out(rows, over),
    ]
    rivals = [rival for rival in RIVALS if any(row.method == rival for row in rows)]
    for engine in engines:
        found = compare(rows, engine, rivals, over) if rivals else None
        if found:
            (worst, gain), *_ = found.gains.items()
            behind = found.notably_behind
            lines += [
                f"{engine}: error / error of the best of {', '.join(rivals)}, geometric mean over "
                f"{len(found.gains)} settings, {_RANGES[over]}: {found.ratio:.3f}",
                f"{engine}: Dice less that of the best, at worst {gain:+.3f} ({worst}); "
                f"more than 0.01 below in {len(behind)} settings",
                *(f"    {behind[setting]:+.3f}  {setting}" for setting in behind),
            ]
        expectation = calibration(label_rows, engine)
        lines.append(
            f"{engine}: expected Dice is off by {expectation.error:.3f} (mean over {expectation.count} labels of all "
            f"settings, all unlabelled slices); the true Dice lies in its range in {expectation.inside:.0%} of cases"
            if expectation
            else f"{engine}: reports no expected Dice"
        )
        for spacing in sorted({row.spacing for row in label_rows}):
            part = calibration([row for row in label_rows if row.spacing == spacing], engine)
            lines += (
                [f"    every {spacing}th: {part.error:.3f}, {part.inside:.0%} ({part.count} labels)"] if part else []
            )
        ranks = [row.rank(over) for row in rows if row.method == engine and row.rank(over) is not None]
        lines.append(
            f"{engine}: rank correlation of confidence and Dice of slices, mean over {len(ranks)} settings: "
            f"{mean(ranks):.2f}"
            if ranks
            else f"{engine}: no ranking of slices by confidence"
        )
        errors = [row.calibration(over) for row in rows if row.method == engine and row.calibration(over) is not None]
        lines += (
            [
                f"{engine}: confidence of voxels in and beside the filled labels is off by {mean(errors):.3f} "
                f"(calibration error, mean over {len(errors)} settings; {max(errors):.3f} at most)"
            ]
            if errors
            else []
        )
    return lines


def _left_out(rows: Sequence[Row], over: str) -> list[str]:
    count = len({row.setting for row in rows} - {row.setting for row in rows if row.dice(over) is not None})
    return [f"left out: {count} settings without unlabelled slices {_RANGES[over]}"] if count else []


def _tables(
    rows: Sequence[Row], label_rows: Sequence[LabelRow], methods: Sequence[str], over: str
) -> list[tuple[str, Cells]]:
    rows = [row for row in rows if row.dice(over) is not None]
    return [
        (f"Mean Dice (HD95 in mm), {_RANGES[over]}", _by_setting(rows, methods, over)),
        (
            f"Mean Dice of labels with at least {MIN_VOXELS} voxels {_RANGES[over]}",
            _of_shown_labels(label_rows, methods, over),
        ),
        ("By method, over all settings", _by_method(rows, methods, over)),
    ]


def _by_setting(rows: Sequence[Row], methods: Sequence[str], over: str) -> Cells:
    cells = [["case", "every", "from", *methods]]
    for setting in dict.fromkeys(row.setting for row in rows):
        found = {row.method: row for row in rows if row.setting == setting}
        scores = [f"{found[m].dice(over):.3f} ({found[m].hd95(over):.1f})" if m in found else "-" for m in methods]
        cells.append([setting.case, str(setting.spacing), str(setting.start), *scores])
    return cells


def _of_shown_labels(label_rows: Sequence[LabelRow], methods: Sequence[str], over: str) -> Cells:
    """Mean Dice over the labels with enough voxels on the scored slices, where a few voxels do not decide it."""
    cells = [["case", "every", "from", "labels", *methods]]
    shown = [row for row in label_rows if row.voxels_over(over) >= MIN_VOXELS]
    for setting in dict.fromkeys(row.setting for row in shown):
        found = [row for row in shown if row.setting == setting]
        means = [mean(row.dice(over) or 0.0 for row in found if row.method == method) for method in methods]
        scores = ["-" if dice is None else f"{dice:.3f}" for dice in means]
        labels = str(len({row.label for row in found}))
        cells.append([setting.case, str(setting.spacing), str(setting.start), labels, *scores])
    return cells


def _by_method(rows: Sequence[Row], methods: Sequence[str], over: str) -> Cells:
    cells = [
        [
            "method",
            "Dice",
            "HD95 mm",
            "labels on one side only",
            "rank correlation",
            "first slice s, median",
            "seconds, median",
            "seconds, most",
            "peak MiB, most",
        ]
    ]
    for method in methods:
        own = [row for row in rows if row.method == method]
        if not own:
            continue
        one_sided = sum(row.one_sided_all if over == "all" else row.one_sided_between for row in own)
        first = [row.first_slice_s for row in own if row.first_slice_s is not None]
        ranks = [row.rank(over) for row in own if row.rank(over) is not None]
        peaks = [row.peak_mib for row in own if row.peak_mib is not None]
        seconds = [row.seconds for row in own]
        cells.append(
            [
                method,
                f"{mean(row.dice(over) for row in own):.3f}",
                f"{mean(row.hd95(over) for row in own):.2f}",
                f"{one_sided}",
                f"{mean(ranks):.2f}" if ranks else "-",
                f"{median(first):.1f}" if first else "-",
                f"{median(seconds):.1f}",
                f"{max(seconds):.1f}",
                f"{max(peaks):.0f}" if peaks else "-",
            ]
        )
    return cells
