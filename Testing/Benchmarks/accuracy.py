"""Accuracy of our engines beside Slicer's own tools and simple ones: tables, CSV files, a plot and a markdown file.

Every n-th slice of each case is labelled, empty ones too. Dice and HD95 are pooled over the unlabelled slices, once
between the first and the last labelled one and once over all; their means are over labels of at least 200 voxels in
the case. Those with fewer on the scored slices, where a few voxels decide, are left out of a second mean Dice. Our
engines run as users run them, `fewshot-annotate fill` in a process of its own: seconds are of the whole command,
start of Python and files included; those of the others are of their work alone. Peaks are of the largest process.

    python Testing/Benchmarks/accuracy.py [--cases ct_spleen ...] [--spacings 4 8 16] [--cache DIR] [-o DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from methods import OTHERS, Filled, Task, fill, limited, runnable_engines
from plots import plot_accuracy
from report import print_report, write_markdown
from results import LabelRow, Row, Setting, write_csv
from scores import LabelScore, calibration_error, label_scores, mean, ranges, rank_correlation, scored_labels
from support.data import benchmark_case_names, load_benchmark_case

Scores = dict[str, dict[int, LabelScore]]


def measure(
    setting: Setting, methods: list[str], axis: SliceAxis, cache: Path | None
) -> tuple[list[Row], list[LabelRow], list[str]]:
    """Rows of each method in one setting, rows of each label, and failures; nothing where no label is labelled."""
    volume, truth = load_benchmark_case(setting.case)
    slices = np.ascontiguousarray(axis.slices(truth.array))
    indices = tuple(range(setting.start, len(slices), setting.spacing))
    if not indices or not slices[list(indices)].any():
        return [], [], []
    task = Task(volume, truth, axis, indices)
    rows: list[Row] = []
    label_rows: list[LabelRow] = []
    failures: list[str] = []
    for method in methods:
        try:
            filled = fill(method, task, cache)
        except RuntimeError as error:
            failures.append(f"{setting}, {method}: {error}")
            continue
        scores = score(task, slices, filled)
        rows.append(_row(setting, method, task, slices, filled, scores))
        label_rows += _label_rows(setting, method, task, slices, filled, scores)
    return rows, label_rows, failures


def score(task: Task, truth: np.ndarray, filled: Filled) -> Scores:
    """Scores by range and label; `truth` is [n, h, w]."""
    labels, spacing = scored_labels(truth), task.axis.spacing(task.volume.geometry)
    return {
        over: label_scores(truth, filled.labels, within, labels, spacing)
        for over, within in ranges(len(truth), task.indices).items()
    }


def _row(setting: Setting, method: str, task: Task, truth: np.ndarray, filled: Filled, scores: Scores) -> Row:
    means: dict[str, float | int | None] = {}
    labels = scored_labels(truth)
    for over, within in ranges(len(truth), task.indices).items():
        found = scores[over].values()
        means[f"dice_{over}"] = mean(one.dice for one in found)
        means[f"hd95_{over}"] = mean(one.hd95 for one in found)
        means[f"one_sided_{over}"] = sum(one.one_sided for one in found)
        confidence_inputs = (truth, filled.labels, filled.confidence, within.unlabelled)
        means[f"rank_{over}"] = None if filled.confidence is None else rank_correlation(*confidence_inputs, labels)
        means[f"calibration_{over}"] = None if filled.confidence is None else calibration_error(*confidence_inputs)
    return Row(
        case=setting.case,
        spacing=setting.spacing,
        start=setting.start,
        method=method,
        slices=len(truth),
        labelled=len(task.indices),
        labels=len(labels),
        first_slice_s=filled.first_slice,
        seconds=filled.seconds,
        peak_mib=filled.peak_mib,
        **means,
    )


def _label_rows(
    setting: Setting, method: str, task: Task, truth: np.ndarray, filled: Filled, scores: Scores
) -> list[LabelRow]:
    names = {segment.value: segment.name for segment in task.truth.segments}
    sizes = np.bincount(truth.reshape(-1))
    scored = {
        over: np.bincount(truth[list(within.unlabelled)].reshape(-1), minlength=len(sizes))
        for over, within in ranges(len(truth), task.indices).items()
    }
    rows = []
    for label, everywhere in scores["all"].items():
        between = scores["between"].get(label)
        expected, low, high = filled.expected.get(label, (None, None, None))
        rows.append(
            LabelRow(
                case=setting.case,
                spacing=setting.spacing,
                start=setting.start,
                method=method,
                label=label,
                name=names[label],
                voxels=int(sizes[label]),
                voxels_between=int(scored["between"][label]),
                voxels_all=int(scored["all"][label]),
                dice_between=between.dice if between else None,
                dice_all=everywhere.dice,
                hd95_between=between.hd95 if between else None,
                hd95_all=everywhere.hd95,
                expected=expected,
                low=low,
                high=high,
            )
        )
    return rows


def main() -> int:
    """Measure, print and write; the exit code is 1 if a method failed somewhere."""
    chosen = _parser().parse_args()
    if chosen.data:
        os.environ["FEWSHOT_DATA"] = str(chosen.data.resolve())
    engines = runnable_engines() if chosen.engines is None else chosen.engines
    engines = [*(limited(engine, seconds) for seconds in sorted(chosen.budgets) for engine in engines), *engines]
    methods = [*(OTHERS if chosen.others is None else chosen.others), *engines]
    settings = [
        Setting(case, spacing, start)
        for case in chosen.cases or benchmark_case_names()
        for spacing in chosen.spacings
        for start in sorted({spacing // 2 if text == "half" else int(text) for text in chosen.starts})
    ]
    chosen.output.mkdir(parents=True, exist_ok=True)
    work = partial(measure, methods=methods, axis=SliceAxis(chosen.axis), cache=chosen.cache)
    rows: list[Row] = []
    label_rows: list[LabelRow] = []
    failures: list[str] = []
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for setting, found in zip(settings, pool.map(work, settings), strict=True):
            for kept, new in zip((rows, label_rows, failures), found, strict=True):
                kept += new
            _print_setting(setting, found[0])
            write_csv(chosen.output / "accuracy.csv", rows, Row)
            write_csv(chosen.output / "accuracy-labels.csv", label_rows, LabelRow)
    print_report(rows, label_rows, methods, engines, chosen.range)
    write_markdown(chosen.output / "accuracy.md", rows, label_rows, methods, engines, chosen.range)
    plot_accuracy(chosen.output / "accuracy.png", rows, methods, chosen.range)
    print(f"accuracy.csv, accuracy-labels.csv, accuracy.md and accuracy.png are in {chosen.output}")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _print_setting(setting: Setting, rows: list[Row]) -> None:
    dice = ["-" if row.dice_between is None else f"{row.dice_between:.3f}" for row in rows]
    shown = [f"{row.method} {value} ({row.seconds:.1f} s)" for row, value in zip(rows, dice, strict=True)]
    print(f"{setting}: {', '.join(shown) or 'no label on the labelled slices'}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of cases; default $FEWSHOT_DATA, else ../shared/data")
    parser.add_argument("--cases", nargs="+", help="default: all")
    parser.add_argument("--spacings", nargs="+", type=int, default=[4, 8, 16], help="every n-th slice is labelled")
    parser.add_argument(
        "--starts",
        nargs="+",
        default=["0"],
        metavar="SLICE|half",
        help="first labelled slice; half: half the spacing",
    )
    parser.add_argument("--axis", type=int, default=0, choices=(0, 1, 2), help="array axis of the slices")
    parser.add_argument("--engines", nargs="*", help="our engines; default: propagate and adapt, where they can run")
    parser.add_argument("--others", nargs="*", choices=OTHERS, help="other methods; default: all")
    parser.add_argument(
        "--range", choices=("between", "all"), default="between", help="unlabelled slices that the tables are about"
    )
    parser.add_argument(
        "--budgets", nargs="*", type=float, default=[], metavar="SECONDS", help="our engines with time limits too"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps results of the other methods for the next time")
    parser.add_argument("--jobs", type=int, default=1, help="settings at a time; seconds mean nothing above 1")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmark-output"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
