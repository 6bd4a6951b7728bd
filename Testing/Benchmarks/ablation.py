"""Gain by each part and tuned constant of `adapt` and `propagate`, as a table that leaves one case out at a time.

Every setting of `AdaptConfig` is measured with its default and with the other values that it names, every constant of
`propagate` in `constants.py` with its own value and those around it. For each case the value is chosen on all other
cases, and scored on the one left out. The last rows say what the part gains over being switched off, and which share
of the computing time it takes. Results are kept in a file of JSON lines, so that a long run can be stopped and
continued.

    python Testing/Benchmarks/ablation.py [--parts switches network.crop propagate.mixing ...]
        [--cases ct_spleen ...] [--spacing 4 8 16] [--steps N] [--seconds 3600] [--jobs 2]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from constants import ConstantValue, tuned_constants
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.adapt.initial_weights import FILE as INITIAL_WEIGHTS
from fewshot_annotate.engines.propagate.engine import Propagate
from methods import fill_between
from phantoms import PHANTOMS
from report import markdown_table
from scores import calibration_error, dice_by_label, mean, scored_labels
from support.data import benchmark_case_names, load_benchmark_case

# Measure by which a setting is chosen: the first whose prefix its name has. Dice is maximised; the error of the
# expected Dice, the score of its interval (width, plus a penalty where the true Dice lies outside) and the error of
# the confidence of voxels are minimised.
MEASURES = {
    "expected_dice.interval": "interval_score",
    "expected_dice": "expected_error",
    "calibration.open_end": "calibration_error",
    "calibration": "expected_error",
    "": "dice",
}
TITLES = {
    "dice": "Dice",
    "expected_error": "error of expected Dice",
    "interval_score": "interval score",
    "calibration_error": "calibration error",
}
# The interval of the expected Dice should miss the true Dice in one of ten cases.
MISSES = 0.1


@dataclass(frozen=True)
class Trial:
    """One fill: all settings of `adapt` or a constant of `propagate`, and what is filled."""

    config: AdaptConfig | ConstantValue
    case: str
    spacing: int
    steps: int

    @property
    def key(self) -> str:
        """Key of the trial in the file of results."""
        digest = hashlib.sha256(repr(self.config).encode() + INITIAL_WEIGHTS.read_bytes()).hexdigest()[:16]
        return f"{self.case} {self.spacing} {self.steps} {digest}"


@dataclass(frozen=True)
class Result:
    """Means over the labels of at least 200 voxels, on the slices between the labelled ones; None without any.

    Attributes
    ----------
    dice, expected_error, interval_score : float or None
        Dice; absolute error of the expected Dice; width of its interval plus its penalty.
    cpu_seconds : float
        Of all threads.
    calibration_error : float or None
        Of the confidence of voxels in and beside the filled labels; older files of results do not have it.
    """

    dice: float | None
    expected_error: float | None
    interval_score: float | None
    cpu_seconds: float
    calibration_error: float | None = None


@dataclass(frozen=True)
class Part:
    """A setting that is measured.

    Attributes
    ----------
    name : str
        `SECTION.FIELD`, or `propagate.MODULE.CONSTANT`.
    values : tuple
        The default first.
    off : AdaptConfig or None
        Settings in which it has no effect; None if it cannot be switched off.
    """

    name: str
    values: tuple[Any, ...]
    off: AdaptConfig | None

    @property
    def measure(self) -> str:
        """The attribute of `Result` that it is chosen by."""
        return next(measure for start, measure in MEASURES.items() if self.name.startswith(start))

    def configs(self) -> Iterator[AdaptConfig | ConstantValue]:
        """The settings with each of its values."""
        if self.name in tuned_constants():
            return (ConstantValue(self.name, value) for value in self.values)
        return (AdaptConfig().replace(self.name, value) for value in self.values)


def parts(chosen: Sequence[str]) -> list[Part]:
    """Parts by name, by the name of their section, or all 'switches' or 'constants' of adapt, or 'propagate'.

    Raises
    ------
    ValueError
        A name is none of these.
    """
    found: list[Part] = []
    switch: str | None = None
    for name, value, _, tried in AdaptConfig().settings():
        section = name.partition(".")[0]
        is_switch = isinstance(value, bool)
        if is_switch or not switch or not switch.startswith(f"{section}."):
            switch = name if is_switch else None
        kind = "switches" if is_switch else "constants"
        if tried and {name, section, kind} & set(chosen):
            off = AdaptConfig().replace(switch, False) if switch else None
            found.append(Part(name, (value, *tried), off))
    for name, values in tuned_constants().items():
        if any(f"{name}.".startswith(f"{one}.") for one in chosen):
            found.append(Part(name, values, None))
    names = {part.name for part in found}
    for one in chosen:
        if one not in ("switches", "constants") and not any(f"{name}.".startswith(f"{one}.") for name in names):
            raise ValueError(f"there is nothing to measure named '{one}'")
    return found


def measure(trial: Trial) -> Result:
    """Fill the slices between the labelled ones and score them."""
    importlib.import_module("torch")  # so that loading it is not measured with the first trial of a process
    make = PHANTOMS.get(trial.case)
    volume, truth = make() if make else load_benchmark_case(trial.case)
    axis = SliceAxis(0)
    slices = np.ascontiguousarray(axis.slices(truth.array))
    support = Support.from_label_map(truth, axis, range(0, len(slices), trial.spacing))
    query = support.unlabelled(support.labelled_range())
    began = time.process_time()
    with trial.config.applied() if isinstance(trial.config, ConstantValue) else nullcontext():
        engine = _engine(trial)
        filled, confidence = fill_between(engine, volume, support, slices)
    seconds = time.process_time() - began
    dice = dice_by_label(slices[query], filled[query], scored_labels(slices))
    expected = [(one, dice[one.label]) for one in engine.expected_dice() if one.label in dice]
    missed = ((one, max(one.low - true, true - one.high, 0.0)) for one, true in expected)
    return Result(
        mean(dice.values()),
        mean(abs(one.dice - true) for one, true in expected),
        mean(one.high - one.low + 2 / MISSES * by for one, by in missed),
        seconds,
        calibration_error(slices, filled, confidence, query),
    )


def _engine(trial: Trial) -> Adapt | Propagate:
    if isinstance(trial.config, ConstantValue):
        return Propagate()
    return Adapt(options={"steps": trial.steps}, config=trial.config)


def run(trials: Iterable[Trial], cache: Path, jobs: int, seconds: float) -> dict[str, Result]:
    """Results by key: those in the file, and those of the trials that are not, which are added to it.

    No trial is begun after `seconds`.
    """
    results = read_results(cache)
    until = time.monotonic() + seconds
    waiting = [trial for trial in dict.fromkeys(trials) if trial.key not in results]
    count, running = len(waiting), dict[Future[Result], Trial]()
    cache.parent.mkdir(parents=True, exist_ok=True)
    is_cut = cache.exists() and not f"\n{cache.read_text(encoding='utf-8')}".endswith("\n")
    with ProcessPoolExecutor(jobs) as pool, cache.open("a", encoding="utf-8") as file:
        file.write("\n" if is_cut else "")
        while running or (waiting and time.monotonic() < until):
            while waiting and len(running) < jobs and time.monotonic() < until:
                trial = waiting.pop(0)
                running[pool.submit(measure, trial)] = trial
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                trial = running.pop(done)
                results[trial.key] = done.result()
                file.write(json.dumps({"key": trial.key, **asdict(done.result())}) + "\n")
                file.flush()
                print(f"{count - len(waiting) - len(running)} of {count}: {trial.case}", file=sys.stderr, flush=True)
    return results


def read_results(cache: Path) -> dict[str, Result]:
    """Results by key of an earlier run; a last line that was cut off is left out."""
    results = {}
    for line in cache.read_text(encoding="utf-8").splitlines() if cache.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        key = row.pop("key")
        results[key] = Result(**row)
    return results


@dataclass(frozen=True)
class Scores:
    """Scores of one setting on each case, averaged over the spacings; the setting's value, and its CPU seconds."""

    value: Any
    by_case: dict[str, float]
    seconds: float

    def over(self, cases: Iterable[str]) -> float:
        """Mean over some cases."""
        return float(np.mean([self.by_case[case] for case in cases]))


def scores_of(
    value: Any, config: AdaptConfig | ConstantValue, measure: str, design: Design, results: dict[str, Result]
) -> Scores | None:
    """Scores of some settings; None if a trial is missing."""
    by_case, seconds = {}, 0.0
    for case in design.cases:
        found = [results.get(trial.key) for trial in design.trials(config, case)]
        known = [one for one in found if one is not None]
        numbers = [number for one in known if (number := getattr(one, measure)) is not None]
        if len(known) < len(found):
            return None
        seconds += sum(one.cpu_seconds for one in known)
        if numbers:
            by_case[case] = float(np.mean(numbers))
    return Scores(value, by_case, seconds)


@dataclass(frozen=True)
class Design:
    """The cases that are filled, and how."""

    cases: Sequence[str]
    spacings: Sequence[int]
    steps: int

    def trials(self, config: AdaptConfig | ConstantValue, case: str) -> list[Trial]:
        """One trial for each spacing."""
        return [Trial(config, case, spacing, self.steps) for spacing in self.spacings]

    def all_trials(self, measured: Sequence[Part]) -> Iterator[Trial]:
        """Everything that the table needs, part by part."""
        for part in measured:
            for config in (*part.configs(), *([part.off] if part.off else [])):
                for case in self.cases:
                    yield from self.trials(config, case)


def table(part: Part, design: Design, results: dict[str, Result]) -> list[list[str]]:
    """Rows of the table about one part; none while a trial is missing, or with fewer than two cases."""
    pairs = zip(part.values, part.configs(), strict=True)
    found = [scores_of(value, config, part.measure, design, results) for value, config in pairs]
    values = [one for one in found if one is not None]
    off = scores_of(None, part.off, part.measure, design, results) if part.off else None
    if len(values) < len(found) or (part.off and off is None):
        return []
    usual, better = values[0], max if part.measure == "dice" else min
    cases = [case for case in design.cases if case in usual.by_case]
    if len(cases) < 2:
        return []
    rows, chosen = [], dict[str, float]()
    for case in cases:
        others = [other for other in cases if other != case]
        # Of equally good values the default is taken, because it comes first.
        best = better(values, key=lambda one, others=others: one.over(others))
        chosen[case] = best.by_case[case]
        rows.append(_row(part, case, _text(best.value), chosen[case], usual.by_case[case], off and off.by_case[case]))
    count = sum(row[2] == _text(usual.value) for row in rows)
    means = float(np.mean(list(chosen.values()))), usual.over(cases), off and off.over(cases)
    last = _row(part, "mean", f"default in {count} of {len(cases)}", *means)
    last[-1] = f"{1 - off.seconds / usual.seconds:.0%}" if off and usual.seconds else "-"
    return [*rows, last]


def _row(part: Part, case: str, chosen: str, own: float, usual: float, off: float | None) -> list[str]:
    sign = 1 if part.measure == "dice" else -1
    without = ["-", "-"] if off is None else [f"{off:.3f}", f"{sign * (own - off):+.3f}"]
    return [f"{part.name} ({TITLES[part.measure]})", case, chosen, f"{own:.3f}", f"{usual:.3f}", *without, ""]


def _text(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value).replace("|", "/")


HEAD = ["part", "left out", "chosen on the others", "left-out score", "of default", "off", "gain over off", "time"]


def main() -> int:
    """Measure and print the table; the exit code is 1 if time ran out before all of it was there."""
    chosen = _parser().parse_args()
    if chosen.data:
        os.environ["FEWSHOT_DATA"] = str(chosen.data.resolve())
    design = Design(chosen.cases or benchmark_case_names(), chosen.spacing, chosen.steps)
    measured = parts(chosen.parts)
    results = run(design.all_trials(measured), chosen.cache, chosen.jobs, chosen.seconds)
    rows = {part.name: table(part, design, results) for part in measured}
    print("\n".join(markdown_table([HEAD, *(row for own in rows.values() for row in own)])))
    missing = [name for name, own in rows.items() if not own]
    if missing:
        print(f"Not measured for want of time or cases: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of cases; default $FEWSHOT_DATA, else ../shared/data")
    parser.add_argument(
        "--cases", nargs="+", help=f"default: all; at least two; also the phantoms {', '.join(PHANTOMS)}"
    )
    parser.add_argument("--spacing", nargs="+", type=int, default=[8], help="every n-th slice is labelled")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["switches"],
        help="SECTION.FIELD, SECTION, 'switches' (the default) or 'constants' of AdaptConfig; propagate, "
        "propagate.MODULE or propagate.MODULE.CONSTANT",
    )
    steps = Adapt.options["steps"].default
    parser.add_argument("--steps", type=int, default=steps, help="option `steps` of the engine")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further fill after this time")
    parser.add_argument("--cache", type=Path, default=Path("benchmark-output/ablation.jsonl"), help="file of results")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
