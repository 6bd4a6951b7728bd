"""Number of slices to paint until the others reach a Dice: Dice by the number of labelled slices.

Labelled slices are spread evenly over the slices that show any label, or chosen one after the other by
`fewshot-annotate suggest`, after the same first few. Every method fills between the first and the last
labelled slice. Dice is the mean over labels of at least 200 voxels, pooled over the slices that are not labelled.

    python Testing/Benchmarks/curve.py [--cases ct_spleen ...] [--methods ...] [--most 32] [--cache DIR] [-o DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.volume import LabelMap, Volume
from methods import OTHERS, Task, fill, run_in_process, runnable_engines, write_inputs
from peers import PEERS
from plots import plot_curve
from report import markdown_table
from results import Need, Point, write_csv
from rich.console import Console
from rich.table import Table
from scores import mean_dice, scored_labels
from support.data import benchmark_case_names, load_benchmark_case

LEVELS = (0.90, 0.95)
COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96)
# Quick enough to be run many times in this process; other engines run as commands.
IN_PROCESS = ("propagate",)
SUGGEST = "suggest"

# Number of labelled slices to mean Dice on the others; None if there is none such.
DiceAt = Callable[[int], float | None]


@dataclass(frozen=True)
class Case:
    """A case seen along an axis; `extent` are the slices from the first to the last that show any label."""

    name: str
    volume: Volume
    truth: LabelMap
    axis: SliceAxis

    @property
    def extent(self) -> range:
        """Slices from the first to the last with any label."""
        held = labelled_indices(self.truth.array, self.axis)
        return range(held[0], held[-1] + 1)


def evenly(extent: range, count: int) -> list[int]:
    """`count` slices of an extent, both ends included, ascending; all of them if the extent is shorter."""
    return sorted({int(index) for index in np.rint(np.linspace(extent[0], extent[-1], count))})


class Suggested:
    """Slices chosen one at a time: called with a number, gives that many, the first ones spread evenly.

    `suggest` gets the slices painted so far and returns the next one, or None if it has no more to suggest.
    """

    def __init__(self, suggest: Callable[[Sequence[int]], int | None], first: Sequence[int]) -> None:
        self._suggest = suggest
        self._chosen = list(first)

    def __call__(self, count: int) -> list[int] | None:
        """The first `count` chosen slices, ascending; None if there are fewer."""
        while len(self._chosen) < count:
            following = self._suggest(sorted(self._chosen))
            if following is None:
                return None
            self._chosen.append(following)
        return sorted(self._chosen[:count])


def suggest_next(case: Case, painted: Sequence[int]) -> int | None:
    """The best slice that `fewshot-annotate suggest` names and that is not painted yet."""
    with tempfile.TemporaryDirectory() as folder:
        task = Task(case.volume, case.truth, case.axis, tuple(painted))
        image, support = write_inputs(task, Path(folder))
        command = [sys.executable, "-m", "fewshot_annotate.cli", SUGGEST, str(image), str(support)]
        command += ["--axis", str(case.axis.index), "--labelled-slices", ",".join(map(str, sorted(painted)))]
        command += ["--slices", "between"]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    slices = [int(one["slice"]) for one in json.loads(printed)]
    return next((index for index in slices if index not in painted), None)


def can_suggest() -> bool:
    """Whether this version of the program has `suggest`."""
    command = [sys.executable, "-m", "fewshot_annotate.cli", SUGGEST, "--help"]
    return subprocess.run(command, capture_output=True).returncode == 0


def first_reaching(dice_at: DiceAt, counts: Sequence[int], level: float) -> int | None:
    """The least number of slices whose Dice is at least `level`, or None.

    `counts` are tried in turn; between the last one that misses and the first one that reaches the level, halving
    finds the number, so that a coarse row of counts puts no method at a disadvantage.
    """
    missed = counts[0] - 1 if counts else 0
    for count in counts:
        dice = dice_at(count)
        if dice is None:
            return None
        if dice >= level:
            return _halve(dice_at, missed, count, level)
        missed = count
    return None


def _halve(dice_at: DiceAt, missed: int, reached: int, level: float) -> int:
    while reached - missed > 1:
        middle = (missed + reached) // 2
        dice = dice_at(middle)
        if dice is not None and dice >= level:
            reached = middle
        else:
            missed = middle
    return reached


def dice_by_count(
    case: Case,
    method: str,
    counts: Sequence[int],
    suggests: bool,
    cache: Path | None,
    levels: Sequence[float] = LEVELS,
) -> list[Point]:
    """Dice at each number of slices that was tried until the highest level is reached."""
    truth = np.ascontiguousarray(case.axis.slices(case.truth.array))
    labels, extent = scored_labels(truth), case.extent
    first = evenly(extent, counts[0])
    suggested = Suggested(lambda painted: suggest_next(case, painted), first)
    known: dict[int, float | None] = {}

    def dice_at(count: int) -> float | None:
        if count not in known:
            indices = suggested(count) if suggests else evenly(extent, count)
            known[count] = _dice(case, method, indices, truth, labels, cache) if indices else None
        return known[count]

    tried = range(len(first), counts[-1] + 1) if suggests and method in IN_PROCESS else counts
    for level in levels:
        first_reaching(dice_at, [count for count in tried if count < len(extent)], level)
    name = f"{method}, {SUGGEST}" if suggests else method
    return [Point(case.name, name, count, dice) for count, dice in sorted(known.items()) if dice is not None]


def _dice(
    case: Case, method: str, indices: list[int], truth: np.ndarray, labels: list[int], cache: Path | None
) -> float | None:
    task = Task(case.volume, case.truth, case.axis, tuple(indices))
    in_process = method in IN_PROCESS
    result = run_in_process(method, task) if in_process else fill(method, task, cache, "between").labels
    return mean_dice(truth, result, [index for index in case.extent if index not in indices], labels)


def needs(points: Sequence[Point], levels: Sequence[float] = LEVELS) -> list[Need]:
    """The least number of slices that reached each level, per case and method."""
    found = []
    for case, method in dict.fromkeys((point.case, point.method) for point in points):
        own = sorted((p for p in points if (p.case, p.method) == (case, method)), key=lambda p: p.slices)
        for level in levels:
            reached = [point.slices for point in own if point.dice >= level]
            found.append(Need(case, method, level, min(reached, default=None), own[-1].slices))
    return found


def main() -> None:
    """Measure, print and write."""
    chosen = _parser().parse_args()
    if chosen.data:
        os.environ["FEWSHOT_DATA"] = str(chosen.data.resolve())
    chosen.output.mkdir(parents=True, exist_ok=True)
    runs = [(method, False) for method in chosen.methods or [*PEERS, *runnable_engines()]]
    if can_suggest():
        runs += [(engine, True) for engine in chosen.curve_engine]
    else:
        print("no suggest: this version of fewshot-annotate does not know it; evenly spaced slices only")
    counts = sorted({chosen.first, *(count for count in COUNTS if chosen.first < count <= chosen.most)})
    points: list[Point] = []
    for name in chosen.cases or benchmark_case_names():
        case = Case(name, *load_benchmark_case(name), SliceAxis(chosen.axis))
        for method, suggests in runs:
            new = dice_by_count(case, method, counts, suggests, chosen.cache, chosen.levels)
            points += new
            shown = ", ".join(f"{point.slices}: {point.dice:.3f}" for point in new)
            print(f"{name}, {method}{', suggest' if suggests else ''}: {shown}", flush=True)
            write_csv(chosen.output / "curve.csv", points, Point)
    found = needs(points, chosen.levels)
    write_csv(chosen.output / "slices-needed.csv", found, Need)
    cells = _cells(found, chosen.levels)
    title = f"Slices painted until mean Dice {' / '.join(f'{level:.2f}' for level in chosen.levels)}"
    (chosen.output / "slices-needed.md").write_text("\n".join([f"{title}:", "", *markdown_table(cells), ""]))
    table = Table(*cells[0], title=title)
    for row in cells[1:]:
        table.add_row(*row)
    Console(width=150).print(table)
    plot_curve(chosen.output / "curve.png", points, chosen.levels)
    print(f"curve.csv, slices-needed.csv, slices-needed.md and curve.png are in {chosen.output}")


def _cells(found: Sequence[Need], levels: Sequence[float]) -> list[list[str]]:
    methods = list(dict.fromkeys(need.method for need in found))
    cells = [["case", *methods]]
    for case in dict.fromkeys(need.case for need in found):
        own = {(need.method, need.level): str(need) for need in found if need.case == case}
        cells.append([case, *(" / ".join(own.get((method, level), "-") for level in levels) for method in methods)])
    return cells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of cases; default $FEWSHOT_DATA, else ../shared/data")
    parser.add_argument("--cases", nargs="+", help="default: all")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=[*OTHERS, *runnable_engines()],
        help="with evenly spaced slices; default: Slicer's own and our engines that can run",
    )
    parser.add_argument(
        "--curve-engine",
        nargs="*",
        default=["propagate"],
        choices=runnable_engines(),
        help="engines that also fill slices chosen by suggest (default: propagate)",
    )
    parser.add_argument("--first", type=int, default=COUNTS[0], help="slices to begin with (default: %(default)s)")
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="slices to end with (default: %(default)s)")
    parser.add_argument(
        "--levels", type=float, nargs="+", default=LEVELS, help="Dice to reach (default: %(default)s)"
    )
    parser.add_argument("--axis", type=int, default=0, choices=(0, 1, 2), help="array axis of the slices")
    parser.add_argument("--cache", type=Path, help="folder that keeps results of the other methods for the next time")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmark-output"))
    return parser


if __name__ == "__main__":
    main()
