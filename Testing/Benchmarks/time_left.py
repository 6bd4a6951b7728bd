"""Error of the remaining time that commands announce, as a table.

    python Testing/Benchmarks/time_left.py [--commands fill specialist batch compare suggest demo] [--repeats 3]
    python Testing/Benchmarks/time_left.py --processor-time [--engines propagate adapt] [--cases NAME ...]

Each run is the command as users run it, on volumes of which every 8th slice is labelled; that of the engine
`specialist` is a run in the background, with networks that were trained for a few seconds. An announcement is scored
if at least 10 % of the run is over and at least 2 s are left. Its error is a factor: announced by true remaining
time, or the inverse if that is larger. With `--repeats`, a row is the run with the median of the largest
factors, so that a pause of the computer does not count. With `--processor-time` fills run in this process, and all
times are its processor time, as on a single core without other load.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.events import Event, Finished, Progress
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.storage import write_csv
from fewshot_annotate.core.training_example import TrainingExample
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.engines.specialist.training import fit_specialist
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs.planning import EngineSettings, FillRequest, plan
from fewshot_annotate.jobs.process import run_in_worker
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.worker import run as run_job
from rich.console import Console
from rich.table import Table
from support.data import load_benchmark_case

EVERY = 8
MIN_SHARE, MIN_SECONDS = 0.1, 2.0
GOAL = 1.5
COMMANDS = ("fill", "specialist", "batch", "compare", "suggest", "demo")
# A small window with one label, and a large one with 31; the demo is a whole brain.
CASES = ("mr_cardiac_sax", "dicom_ct")
TRAINING_SECONDS = 8.0


@dataclass(frozen=True)
class Announcement:
    """Seconds since the start of a run, and the remaining seconds announced."""

    elapsed: float
    left: float


@dataclass(frozen=True)
class Run:
    """Announcements of a run, and its seconds."""

    announcements: Sequence[Announcement]
    seconds: float

    @property
    def factors(self) -> list[float]:
        """Error of each scored announcement, as a factor of at least 1."""
        scored = [
            (announcement.left, self.seconds - announcement.elapsed)
            for announcement in self.announcements
            if announcement.elapsed >= MIN_SHARE * self.seconds and self.seconds - announcement.elapsed >= MIN_SECONDS
        ]
        return [max(estimated / left, left / max(estimated, 1e-3)) for estimated, left in scored]

    @property
    def largest_factor(self) -> float:
        """The largest factor; 1 if nothing was announced."""
        return max(self.factors, default=1.0)


@dataclass(frozen=True)
class Row:
    """A row of the table: what is run, the engine, and the function that runs it in a new folder."""

    name: str
    engine: str
    run: Callable[[Path], Run]


def run_command(words: Sequence[str], folder: Path) -> Run:
    """Run a command and read what it announces, as JSON or in plain lines."""
    command = [sys.executable, "-m", "fewshot_annotate.cli", *words]
    began = time.monotonic()
    announcements = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            left = announced(line)
            if left is not None:
                announcements.append(Announcement(time.monotonic() - began, left))
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with code {process.returncode}")
    return Run(announcements, time.monotonic() - began)


def announced(line: str) -> float | None:
    """The seconds that are left according to a line of output, or None."""
    try:
        content = json.loads(line)
    except ValueError:
        in_words = re.search(r"(\d+) s left\)$", line)
        return float(in_words[1]) if in_words else None
    left = content.get("eta") if isinstance(content, dict) else None
    return None if left is None else float(left)


def run_fill(case: str, settings: EngineSettings, folder: Path, on_processor_time: bool) -> Run:
    """Fill a case in the background, or in this process by its processor time."""
    clock = time.process_time if on_processor_time else time.monotonic
    volume, label_map = load_benchmark_case(case)
    request = FillRequest(volume=volume, layers=[painted(volume, label_map)], axis=SliceAxis(0), settings=settings)
    (planned,) = plan(request)
    (job,) = JobFolder.create_layers(folder / "job", [planned.job], volume, [planned.support])
    began = clock()
    announcements = []

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.eta is not None:
            announcements.append(Announcement(clock() - began, event.eta))

    ending = run_job(job, report, lambda: False, clock=clock) if on_processor_time else run_in_worker(job, report)
    if not isinstance(ending, Finished):
        sys.exit(f"{case}, {settings.engine}: {ending}")
    return Run(announcements, clock() - began)


def trained_model(case: str, folder: Path) -> Path:
    """Folder of a model that was trained on a case, too short to be accurate."""
    volume, label_map = load_benchmark_case(case)
    values = np.array([0, *label_map.values])
    labels = np.searchsorted(values, label_map.array).astype(np.uint8)
    examples = [TrainingExample(patient=name, load=lambda: (volume, labels)) for name in ("first", "second")]
    fit_specialist(examples, len(values) - 1, folder / "model", budget_seconds=TRAINING_SECONDS)
    return folder / "model"


def write_case(name: str, folder: Path) -> None:
    """Write the image and the support of a case as files."""
    volume, label_map = load_benchmark_case(name)
    write_array(folder / f"{name}.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / f"{name}_painted.nii.gz", [painted(volume, label_map)])


def painted(volume: Volume, label_map: LabelMap) -> LabelMap:
    """Labels of every 8th slice."""
    axis = SliceAxis(0)
    array = np.zeros_like(label_map.array)
    labelled = labelled_indices(label_map.array, axis)
    chosen = [*labelled[::EVERY], labelled[-1]]
    axis.slices(array)[chosen] = axis.slices(label_map.array)[chosen]
    return LabelMap(array, volume.geometry, label_map.segments)


def rows(options: argparse.Namespace, inputs: Path) -> Iterator[Row]:
    """The rows of the table; cases are in the folder of inputs."""

    def command(name: str, engine: str, *words: str, progress: str = "json") -> Row:
        return Row(name, engine, lambda folder: run_command([*words, "--progress", progress], folder))

    def case(name: str) -> tuple[str, str]:
        return str(inputs / f"{name}.nii.gz"), str(inputs / f"{name}_painted.nii.gz")

    def fill(name: str, settings: EngineSettings) -> Row:
        return Row(name, settings.engine, lambda folder: run_fill(name, settings, folder, options.processor_time))

    first, *_ = options.cases
    if "fill" in options.commands:
        for engine in options.engines:
            for name in options.cases:
                if options.processor_time:
                    yield fill(name, EngineSettings(engine))
                else:
                    outputs = ("-o", "out.nii.gz", "--engine", engine)
                    yield command(f"fill {name}", engine, "fill", *case(name), *outputs)
    if "specialist" in options.commands:
        yield fill(first, EngineSettings("specialist", model=trained_model(first, inputs)))
    if options.processor_time:
        return
    if "batch" in options.commands:
        cases = [(f"case {number}", *case(options.batch_case)) for number in range(options.batch)]
        write_csv(inputs / "manifest.csv", ("name", "image", "support"), cases)
        words = [str(inputs / "manifest.csv"), "-o", "batch", "--engine", "propagate"]
        yield command(f"batch of {options.batch}", "propagate", "batch", *words)
    if "compare" in options.commands:
        words = [*case(options.compare_case), "-o", "report", "--engines", "propagate,adapt"]
        yield command("compare", "both", "compare", *words, "--sizes", "2,4", "--draws", "2", "--held-out", "4")
    if "suggest" in options.commands:
        for name in options.cases:
            yield command(f"suggest {name}", "propagate", "suggest", *case(name), progress="bar")
    if "demo" in options.commands:
        for engine in options.engines:
            yield command("demo", engine, "demo", "-o", "demo", "--engine", engine)


def median_run(row: Row, repeats: int) -> Run:
    """The run with the median of the largest factors."""
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(row.run(Path(folder)))
    return sorted(runs, key=lambda run: run.largest_factor)[(repeats - 1) // 2]


def main() -> int:
    """Run the benchmark; returns the exit code, 1 if an announcement is too far from the truth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--engines", nargs="+", default=["propagate", "adapt"])
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--batch", type=int, default=10, help="cases of the batch")
    parser.add_argument("--batch-case", default="ct_abdomen_pelvis")
    parser.add_argument("--compare-case", default="mr_spine_cord_t2")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--processor-time", action="store_true", help="fills alone, by processor time")
    options = parser.parse_args()
    table = Table("run", "engine", "seconds", "first at", "median factor", "largest factor", "announcements")
    far = []
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch)
        for name in {*options.cases, options.batch_case, options.compare_case}:
            write_case(name, inputs)
        for row in rows(options, inputs):
            run = median_run(row, options.repeats)
            factors, began = run.factors, run.announcements[0].elapsed if run.announcements else None
            cells = (
                f"{run.seconds:.1f}",
                "" if began is None else f"{100 * began / run.seconds:.0f} %",
                *((f"{np.median(factors):.2f}", f"{max(factors):.2f}") if factors else ("", "")),
                str(len(factors)),
            )
            far += [f"{row.name} ({row.engine})"] if run.largest_factor > GOAL else []
            table.add_row(row.name, row.engine, *cells)
            print(row.name, row.engine, *cells, file=sys.stderr, flush=True)
    Console(width=110).print(table)
    print(f"Further from the truth than a factor of {GOAL:g}: {', '.join(far) or 'none'}.")
    return int(bool(far))


if __name__ == "__main__":
    sys.exit(main())
