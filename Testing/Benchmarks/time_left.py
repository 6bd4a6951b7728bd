"""Error of the remaining time that a fill or a batch announces, as a table.

    python Testing/Benchmarks/time_left.py [--engines propagate adapt] [--cases NAME ...] [--batch 12]
    python Testing/Benchmarks/time_left.py --processor-time [--engines propagate adapt] [--cases NAME ...]

Each run is the command as users run it, with every 8th slice labelled. With `--processor-time` fills run in this
process, and all seconds are of its processor time, as on a single core without other load. Announcements count once
10 % of the time is over and while at least 2 s are left. The factor of one is announced / left or its inverse,
whichever is above 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.events import Event, Finished, Progress
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.storage import write_csv
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs.planning import EngineSettings, FillRequest, plan
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.worker import run as run_job
from rich.console import Console
from rich.table import Table
from support.data import benchmark_case_names, load_benchmark_case

EVERY = 8
MIN_SHARE, MIN_SECONDS = 0.1, 2.0
GOAL = 1.5


@dataclass(frozen=True)
class Announcement:
    """Seconds since the start of a run, and how many were said to be left."""

    elapsed: float
    left: float


def factors(announcements: Sequence[Announcement], seconds: float) -> list[float]:
    """How far each announcement that counts is from the truth; at least 1."""
    counted = [
        (one.left, seconds - one.elapsed)
        for one in announcements
        if one.elapsed >= MIN_SHARE * seconds and seconds - one.elapsed >= MIN_SECONDS
    ]
    return [max(said / left, left / max(said, 1e-3)) for said, left in counted]


def run(words: Sequence[str], folder: Path) -> tuple[list[Announcement], float]:
    """Announcements and seconds of a command with `--progress json`."""
    command = [sys.executable, "-m", "fewshot_annotate.cli", *words, "--progress", "json"]
    began = time.monotonic()
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            eta = json.loads(line).get("eta")
            if eta is not None:
                found.append(Announcement(time.monotonic() - began, float(eta)))
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with code {process.returncode}")
    return found, time.monotonic() - began


def run_on_processor_time(case: str, engine: str, folder: Path) -> tuple[list[Announcement], float]:
    """Announcements and seconds of a fill in this process, in seconds of its processor time."""
    volume, label_map = load_benchmark_case(case)
    request = FillRequest(
        volume=volume,
        layers=[_painted(volume, label_map)],
        axis=SliceAxis(0),
        settings=EngineSettings(engine),
    )
    (planned,) = plan(request)
    (job,) = JobFolder.create_layers(folder / f"{case}_{engine}", [planned.job], volume, [planned.support])
    began = time.process_time()
    found = []

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.eta is not None:
            found.append(Announcement(time.process_time() - began, event.eta))

    ending = run_job(job, report, host_monitor=None, clock=time.process_time)
    if not isinstance(ending, Finished):
        sys.exit(f"{case}, {engine}: {ending}")
    return found, time.process_time() - began


def put_case(name: str, folder: Path) -> None:
    """Write image and support of a case."""
    volume, label_map = load_benchmark_case(name)
    write_array(folder / f"{name}.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / f"{name}_painted.nii.gz", [_painted(volume, label_map)])


def _painted(volume: Volume, label_map: LabelMap) -> LabelMap:
    axis = SliceAxis(0)
    array = np.zeros_like(label_map.array)
    held = labelled_indices(label_map.array, axis)
    chosen = [*held[::EVERY], held[-1]]
    axis.slices(array)[chosen] = axis.slices(label_map.array)[chosen]
    return LabelMap(array, volume.geometry, label_map.segments)


def main() -> int:
    """Run the benchmark; returns the exit code, 1 if an announcement is too far from the truth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", default=["propagate", "adapt"])
    parser.add_argument("--cases", nargs="+", default=benchmark_case_names())
    parser.add_argument("--batch", type=int, default=12, help="cases of the batch; 0 for none")
    parser.add_argument("--processor-time", action="store_true", help="fills alone, by processor time")
    options = parser.parse_args()
    table = Table("run", "engine", "seconds", "first at", "median factor", "largest factor", "announcements")
    far = False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not options.processor_time:
            for case in options.cases:
                put_case(case, folder)
        runs = [
            (case, ["fill", f"{case}.nii.gz", f"{case}_painted.nii.gz", "-o", "out.nii.gz", "--overwrite"])
            for case in options.cases
        ]
        batched = options.batch and not options.processor_time
        if batched:
            rows = [
                (f"case {number}", f"{case}.nii.gz", f"{case}_painted.nii.gz")
                for number in range(options.batch)
                for case in [options.cases[number % len(options.cases)]]
            ]
            write_csv(folder / "manifest.csv", ("name", "image", "support"), rows)
        for engine in options.engines:
            batch = [(f"batch of {options.batch}", ["batch", "manifest.csv", "-o", f"batch_{engine}"])]
            for name, words in (*runs, *(batch if batched else ())):
                if options.processor_time:
                    announced, seconds = run_on_processor_time(name, engine, folder)
                else:
                    announced, seconds = run([*words, "--engine", engine], folder)
                found = factors(announced, seconds)
                first = f"{100 * announced[0].elapsed / seconds:.0f} %" if announced else ""
                far |= any(factor > GOAL for factor in found)
                figures = (f"{np.median(found):.2f}", f"{max(found):.2f}") if found else ("", "")
                table.add_row(name, engine, f"{seconds:.1f}", first, *figures, str(len(found)))
                print(name, engine, f"{seconds:.1f} s", first, *figures, file=sys.stderr, flush=True)
    Console(width=110).print(table)
    if far:
        print(f"Some announcements are further from the truth than the goal, a factor of {GOAL:g}.")
    return int(far)


if __name__ == "__main__":
    sys.exit(main())
