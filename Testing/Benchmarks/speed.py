r"""Speed and memory of our engines beside Slicer's own tools, as a table.

A case, by default a brain (mr_brain_t1_freesurfer, else the MNI152 brain), resampled to 256x256x128, its 4 largest
labels, 11 labelled slices. Engines run as users run them: a worker process over a job folder; times begin at the
start of that process, and the first slice may be a draft.

    python Testing/Benchmarks/speed.py [--repeats 3] [--engines propagate adapt]
    python Testing/Benchmarks/speed.py --engines adapt --others --repeats 1 --slices 64 128 256
    python Testing/Benchmarks/speed.py --engines adapt --others --repeats 1 --case ct_aortic_dissection \\
        --side 512 --slices 600 --labelled 20
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.dice import dice
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.registry import engine_names
from fewshot_annotate.jobs.process import WORKER_SCRIPT
from measured import run_measured
from peers import PEERS, run_peer
from rich.console import Console
from rich.table import Table
from scipy.ndimage import zoom
from support.data import MNI152, benchmark_brain, benchmark_case_names, load_benchmark_case
from support.run_folders import create_folder, result_of

LABELS = 4
AXIS = SliceAxis(0)


def resampled(case: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels [n, h, w] of the benchmark's size: the largest labels of a case."""
    volume, label_map = load_benchmark_case(case)
    counts = np.bincount(label_map.array.reshape(-1))
    counts[0] = 0
    largest = [int(value) for value in counts.argsort()[::-1][:LABELS] if counts[value]]
    factors = np.divide(shape, volume.array.shape)
    image = zoom(volume.array.astype(np.float32), factors, order=1)
    shrunk = zoom(label_map.array, factors, order=0)
    labels = np.zeros(shape, dtype=np.uint8)
    for value, original in enumerate(largest, start=1):
        labels[shrunk == original] = value
    return image, labels


def run_engine(
    name: str, image: np.ndarray, labels: np.ndarray, indices: list[int]
) -> tuple[float, float, float, np.ndarray]:
    """Seconds to the first slice and to all, peak MiB of the worker, and the labels."""
    geometry = Geometry(image.shape)
    painted = np.zeros_like(labels)
    painted[indices] = labels[indices]
    support = Support.from_label_map(LabelMap(painted, geometry), AXIS, indices)
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(engine=name, slices=tuple(support.unlabelled(support.labelled_range())))
        folder = create_folder(Path(scratch) / "job", job, Volume(image, geometry), support)
        command = [sys.executable, str(WORKER_SCRIPT), str(folder.path), "--host-pid", str(os.getpid())]
        began = time.perf_counter()
        slices: list[float] = []

        def note(line: bytes) -> None:
            if b'"slice"' in line:
                slices.append(time.perf_counter() - began)

        seconds, peak, code = run_measured(command, note)
        if code:
            raise RuntimeError(f"the worker ended with code {code}")
        result, _ = result_of(folder)
    return slices[0], seconds, peak, result


def mean_dice(truth: np.ndarray, result: np.ndarray, indices: list[int]) -> float:
    """Mean over labels of Dice pooled over the unlabelled slices between labelled ones."""
    between = [index for index in range(indices[0], indices[-1]) if index not in indices]
    values = range(1, int(truth.max()) + 1)
    return float(np.mean([dice(truth[between], result[between], value) for value in values]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method; medians are shown")
    parser.add_argument("--engines", nargs="+", default=["propagate", "adapt"], choices=engine_names())
    parser.add_argument("--others", nargs="*", default=list(PEERS), choices=list(PEERS), help="Slicer's own tools")
    parser.add_argument("--case", default=benchmark_brain(), choices=[*benchmark_case_names(), MNI152])
    parser.add_argument("--side", type=int, default=256, help="pixels of a side of a slice")
    parser.add_argument("--slices", type=int, nargs="+", default=[128], help="one table for each number of slices")
    parser.add_argument("--labelled", type=int, default=11, help="labelled slices")
    chosen = parser.parse_args()
    for count in chosen.slices:
        measure(chosen, (count, chosen.side, chosen.side))


def measure(chosen: argparse.Namespace, shape: tuple[int, int, int]) -> None:
    """Print the table of one shape."""
    repeats = chosen.repeats
    image, labels = resampled(chosen.case, shape)
    indices = [int(index) for index in np.linspace(4, shape[0] - 5, chosen.labelled)]
    volume_mib = image.nbytes / 2**20
    table = Table("method", "first slice s", "all slices s", "peak MiB", "peak / volume", "Dice")
    for name in chosen.engines:
        runs = [run_engine(name, image, labels, indices) for _ in range(repeats)]
        first, seconds, peak = (float(np.median([run[number] for run in runs])) for number in range(3))
        shown = f"{first:.2f}", f"{seconds:.1f}", f"{peak:.0f}", f"{peak / volume_mib:.1f}"
        table.add_row(name, *shown, f"{mean_dice(labels, runs[0][3], indices):.3f}")
    for name in chosen.others:
        results = [run_peer(name, image, labels, indices) for _ in range(repeats)]
        peer_seconds = float(np.median([result.seconds for result in results]))
        peer_peak = float(np.median([result.peak_mib for result in results]))
        shown = "-", f"{peer_seconds:.1f}", f"{peer_peak:.0f}", f"{peer_peak / volume_mib:.1f}"
        table.add_row(name, *shown, f"{mean_dice(labels, results[0].labels, indices):.3f}")
    size = f"{shape[2]}x{shape[1]}x{shape[0]}"
    console = Console(width=120)
    console.print(
        f"{chosen.case}, {size}, {chosen.labelled} labelled slices, {LABELS} labels, {os.cpu_count()} cores"
    )
    console.print(
        f"volume in float32: {volume_mib:.0f} MiB; peaks are of the whole process; medians of {repeats} runs"
    )
    console.print(table)


if __name__ == "__main__":
    main()
