"""Gain by accepted cases: Dice on unseen patients by the number of cases of a task.

Parts of the table:

- `accepted`: nothing painted, tasks of 1 to 40 cases; beside it the expected Dice from cross-validation;
- `sparse`: the same, with every 8th slice of the examples labelled;
- `painted`: some slices of the new case painted, `adapt` alone and with a task's specialist as a candidate;
- `registration`: examples registered to the new case (SimpleITK, affine and B-spline), the majority of 5;
- `universeg`: UniverSeg on random weights, only as a check that the table can hold it.

Patients of the last third of each set are never trained on. A model that `--models` holds is not trained again.
`--parts --rows FIRST.json SECOND.json --plot TABLE.png` measures nothing, and prints and draws the rows of both runs.

    python Testing/Benchmarks/many.py [--parts accepted ...] [--sets ...] [--counts 1 2 5 10 20 40] [--budget SECONDS]
        [--processor-time] [--patients 12] [--models DIR] [--rows ROWS.json] [-o TABLE.json] [--plot TABLE.png]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.base import Engine, RunContext
from fewshot_annotate.engines.specialist.engine import Specialist
from fewshot_annotate.engines.specialist.model_file import read_report
from fewshot_annotate.engines.specialist.training import fit_specialist
from fewshot_annotate.engines.threads import max_threads
from fewshot_annotate.jobs.filling import Filling
from patients import PatientSet, load, mean_dice, painted_slices
from registration_baseline import majority_of_registered
from report import markdown_table

SETS = ("mr_hippocampus", "mr_cardiac_sax")
PARTS = ("accepted", "sparse", "painted", "registration", "universeg")
COUNTS = (1, 2, 5, 10, 20, 40)
PAINTED = (0, 1, 3, 5)
SPARSE_STEP = 8
MAJORITY = 5
# Number of cores to which a time limit refers with `--processor-time`.
CORES = 2


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: results of a method on all unseen patients.

    Attributes
    ----------
    cases : int
        Cases of the task.
    painted : int
        Painted slices of each new case.
    dice, worst : float
        Mean over the patients, and the least.
    expected : float or None
        Expected Dice from cross-validation, or from the engine for the patients.
    off_by : float or None
        Mean absolute error, over the patients, of the Dice that the engine expected of each.
    seconds : float
        Mean time for a new case.
    training_seconds : float or None
    """

    set: str
    method: str
    cases: int
    painted: int
    patients: int
    dice: float
    worst: float
    expected: float | None
    off_by: float | None
    seconds: float
    training_seconds: float | None


def model_of(data: PatientSet, count: int, every: int, options: argparse.Namespace) -> Path:
    """Folder of the model of a task with `count` cases, trained now if there is none."""
    folder = Path(options.models) / f"{data.name}-{count}-{every}-{options.budget:g}"
    config, budget = None, options.budget
    if options.processor_time:
        from fewshot_annotate.engines.specialist.member_training import MemberConfig

        # As many networks as there are threads are trained at once, each by its own clock.
        config, budget = MemberConfig(clock=time.thread_time), budget * CORES / max_threads(CORES)
    fit_specialist(data.examples(count, every), data.labels, folder, budget_seconds=budget, config=config)
    return folder


def run(engine: Engine, volume: Volume, truth: np.ndarray, painted: Sequence[int], labels: int, model: Path | None):
    """Fill all slices of a volume: the labels, mean expected Dice or None, and seconds."""
    known = np.ones((len(painted), labels), dtype=bool)
    masks = truth[list(painted)].astype(np.uint8)
    support = Support(SliceAxis(0), tuple(painted), masks, tuple(range(1, labels + 1)), known)
    query = [index for index in range(len(truth)) if index not in painted]
    began = time.perf_counter()
    filling = Filling(engine, volume, support, query, RunContext(model=model))
    for _ in filling.drafts():
        pass
    filled = np.zeros(truth.shape, dtype=np.uint8)
    for index, probabilities in filling.results():
        filled[index] = probabilities.argmax(axis=0)
    expected = [one.dice for one in engine.expected_dice()]
    return filled, float(np.mean(expected)) if expected else None, time.perf_counter() - began


def row_of(
    data: PatientSet,
    method: str,
    cases: int,
    painted: int,
    fill: Callable[[Volume, np.ndarray, list[int]], tuple[np.ndarray, float | None, float]],
    options: argparse.Namespace,
    model: Path | None = None,
) -> Row:
    """Fill every unseen patient and summarise."""
    results = []
    for case in data.unseen[: options.patients]:
        volume, truth = load(case)
        slices = painted_slices(truth, painted)
        filled, expected, seconds = fill(volume, truth, slices)
        results.append((mean_dice(filled, truth, data.labels, slices), expected, seconds))
        print(
            f"{data.name} {method} {cases} cases, {painted} painted, {case.name}: {results[-1][0]:.3f}",
            file=sys.stderr,
        )
    dice = np.array([one for one, _, _ in results])
    promised = np.array([np.nan if one is None else one for _, one, _ in results])
    known = not np.isnan(promised).any()
    report = read_report(model) if model else None
    expected = report.mean_expected_dice if report and not painted else float(promised.mean()) if known else None
    return Row(
        set=data.name,
        method=method,
        cases=cases,
        painted=painted,
        patients=len(results),
        dice=float(dice.mean()),
        worst=float(dice.min()),
        expected=expected,
        off_by=float(np.abs(promised - dice).mean()) if known else None,
        seconds=float(np.mean([seconds for _, _, seconds in results])),
        training_seconds=report.seconds if report else None,
    )


def trained_rows(data: PatientSet, every: int, options: argparse.Namespace) -> Iterator[Row]:
    """Nothing painted, by the number of cases."""
    for count in options.counts:
        if count <= len(data.training):
            model = model_of(data, count, every, options)

            def fill(volume: Volume, truth: np.ndarray, slices: list[int], model: Path = model):
                return run(Specialist(), volume, truth, slices, data.labels, model)

            method = "specialist" if every == 1 else f"specialist, every {every}th slice"
            yield row_of(data, method, count, 0, fill, options, model)


def painted_rows(data: PatientSet, options: argparse.Namespace) -> Iterator[Row]:
    """Some slices painted: `adapt` alone, and with the specialist of tasks."""
    for painted in options.painted:
        tasks: list[Path | None] = [None] if painted else []
        counts = [0] if painted else []
        for count in options.tasks:
            held = min(count, len(data.training))
            tasks.append(model_of(data, held, 1, options))
            counts.append(held)
        for count, model in zip(counts, tasks, strict=True):

            def fill(volume: Volume, truth: np.ndarray, slices: list[int], model: Path | None = model):
                engine = Adapt() if slices else Specialist()
                return run(engine, volume, truth, slices, data.labels, model)

            method = "adapt" if model is None else "adapt + specialist" if painted else "specialist"
            yield row_of(data, method, count, painted, fill, options, model)


def registration_rows(data: PatientSet, options: argparse.Namespace) -> Iterator[Row]:
    """Examples registered to each new case."""
    examples = [load(case) for case in data.training[:MAJORITY]]

    def fill(volume: Volume, truth: np.ndarray, slices: list[int]):
        began = time.perf_counter()
        return majority_of_registered(volume, examples, data.labels), None, time.perf_counter() - began

    yield row_of(data, "registration", len(examples), 0, fill, options)


def universeg_rows(data: PatientSet, options: argparse.Namespace) -> Iterator[Row]:
    """UniverSeg as it stands, on random weights."""
    import pytest
    import torch
    from fewshot_annotate.engines.in_context.universeg import UniverSeg
    from fewshot_annotate.engines.in_context.universeg_network import state_shapes
    from support.tiny_weights import WeightsFolder

    def fill(volume: Volume, truth: np.ndarray, slices: list[int]):
        return run(UniverSeg(), volume, truth, slices, data.labels, None)

    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in state_shapes().items()}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        WeightsFolder(Path(folder), patch).put("universeg-v1", state)
        yield row_of(data, "universeg, random weights", 0, 3, fill, options)


def rows(options: argparse.Namespace) -> Iterable[Row]:
    """All lines of the requested parts."""
    for name in options.sets if options.parts else ():
        data = PatientSet.find(name)
        parts = {
            "accepted": lambda data=data: trained_rows(data, 1, options),
            "sparse": lambda data=data: trained_rows(data, SPARSE_STEP, options),
            "painted": lambda data=data: painted_rows(data, options),
            "registration": lambda data=data: registration_rows(data, options),
            "universeg": lambda data=data: universeg_rows(data, options),
        }
        for part in options.parts:
            yield from parts[part]()


def table(found: Sequence[Row]) -> str:
    """The table in Markdown."""

    def number(value: float | None, digits: int = 3) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    head = [
        "set",
        "method",
        "cases",
        "painted",
        "patients",
        "Dice",
        "worst",
        "expected",
        "off by",
        "s/case",
        "training s",
    ]
    lines = [
        [
            one.set,
            one.method,
            str(one.cases),
            str(one.painted),
            str(one.patients),
            number(one.dice),
            number(one.worst),
            number(one.expected),
            number(one.off_by),
            number(one.seconds, 1),
            number(one.training_seconds, 0),
        ]
        for one in found
    ]
    return "\n".join(markdown_table([head, *lines]))


def plot(found: Sequence[Row], path: Path) -> None:
    """Dice by accepted cases with nothing painted, and by painted slices."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for side, by in zip(axes, ("cases", "painted"), strict=True):
        curves: dict[str, list[Row]] = {}
        for one in found:
            tasks = "" if by == "cases" or not one.cases else f", {one.cases} cases"
            if by == "painted" or not one.painted:
                curves.setdefault(f"{one.set}, {one.method}{tasks}", []).append(one)
        for name, rows_of_curve in curves.items():
            ordered = sorted(rows_of_curve, key=lambda one: getattr(one, by))
            if by == "cases" or len(ordered) > 1:
                side.plot(
                    [getattr(one, by) for one in ordered], [one.dice for one in ordered], marker="o", label=name
                )
        side.set_xlabel("accepted cases" if by == "cases" else "painted slices of the new case")
        side.grid(alpha=0.3)
        if side.lines:
            side.legend(fontsize="x-small")
    axes[0].set_ylabel("mean Dice on unseen patients")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def write(found: Sequence[Row], path: Path | None) -> None:
    """Write rows as JSON, if there is a path."""
    if path:
        path.write_text(json.dumps([asdict(one) for one in found], indent=2), encoding="utf-8")


def main() -> None:
    """Print the table, and write it if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=["accepted", "sparse", "painted", "registration"]
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), help="accepted cases")
    parser.add_argument("--tasks", nargs="+", type=int, default=[5, 20], help="accepted cases, of the part `painted`")
    parser.add_argument("--painted", nargs="+", type=int, default=list(PAINTED), help="painted slices")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds of training on two cores")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="the time limit is that of two cores in seconds of one core's work, for a machine that is in use",
    )
    parser.add_argument("--patients", type=int, default=100, help="unseen patients at most")
    parser.add_argument("--models", type=Path, help="keeps trained models")
    parser.add_argument("--rows", nargs="+", type=Path, default=[], help="rows of earlier runs, which are kept")
    parser.add_argument("-o", "--output", type=Path, help="writes the rows as JSON")
    parser.add_argument("--plot", type=Path, help="draws the rows as an image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        options.models = options.models or Path(temporary)
        found = [Row(**row) for path in options.rows for row in json.loads(path.read_text(encoding="utf-8"))]
        write(found, options.output)
        for row in rows(options):
            found.append(row)
            write(found, options.output)
    print(table(found))
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
