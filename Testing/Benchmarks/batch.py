"""Overhead of a batch, and its growth with the number of cases, as tables. Real processes, real scheduler.

First a small real volume (two vertebrae) under many names: cases per minute in one process and in several, and the
processor time that the parent takes for each case. Then a simulated dataset
of many small volumes on the workers of a scheduler in a process of its own, whose memory is noted as they pass.

    python Testing/Benchmarks/batch.py [--cases 24] [--workers 1 2] [--simulated 2000]
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import numpy as np
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.datasets.batch import WorkerPool, run_batch
from fewshot_annotate.datasets.batch_state import BatchProgress
from fewshot_annotate.datasets.case_plan import BatchSettings
from fewshot_annotate.datasets.cluster import scheduler_cluster
from fewshot_annotate.datasets.local_processes import LocalProcesses
from fewshot_annotate.datasets.manifest import read_manifest
from fewshot_annotate.datasets.status import Status
from fewshot_annotate.io.files import write_array, write_label_maps
from rich.console import Console
from rich.table import Table
from support.batches import Dataset, make_dataset

ENGINE = "propagate"
SMALL = (12, 24, 24)
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Run:
    """One batch.

    Attributes
    ----------
    first, last : float
        Seconds until the first and the last case was done: processes start before, and end after.
    parent : float
        Seconds of processor time of this process, the local scheduler's among them.
    """

    cases: int
    first: float
    last: float
    parent: float

    @property
    def per_minute(self) -> float:
        """Cases per minute after the first one."""
        return 60 * (self.cases - 1) / (self.last - self.first)


def run(
    dataset: Dataset, make_pool: Callable[[], WorkerPool], watch: Callable[[BatchProgress], None] = lambda _: None
) -> Run:
    """Run a dataset's manifest to its end; every case must be done."""
    ends: list[float] = []
    began, spent = time.perf_counter(), time.process_time()

    def report(tally: BatchProgress) -> None:
        if tally.case is not None and tally.case.status is Status.DONE:
            ends.append(time.perf_counter() - began)
        watch(tally)

    cases = run_batch(
        read_manifest(dataset.manifest), dataset.output, BatchSettings(), make_pool, engine=ENGINE, report=report
    )
    assert all(case.status is Status.DONE for case in cases.values()), cases
    return Run(len(cases), ends[0], ends[-1], time.process_time() - spent)


def throughput(folder: Path, count: int, workers: list[int]) -> Table:
    """The same cases in one process and on workers."""
    pools: dict[str, Callable[[], WorkerPool]] = {"one process": LocalProcesses}
    pools.update({f"--workers {number}": lambda number=number: LocalProcesses(number) for number in workers})
    table = Table("", "cases", "cases/min", "until the first s", "parent ms/case", title=f"Real volume, {ENGINE}")
    for number, (name, make_pool) in enumerate(pools.items()):
        case_folder = folder / f"real {number}"
        case_folder.mkdir()
        done = run(make_dataset(case_folder, [f"case {one:03}" for one in range(count)]), make_pool)
        overhead = 1000 * done.parent / done.cases
        table.add_row(name, str(count), f"{done.per_minute:.0f}", f"{done.first:.1f}", f"{overhead:.0f}")
    return table


def simulated(folder: Path, count: int) -> Dataset:
    """Small volumes of noise with a ball, each with files of its own, two of its slices labelled."""
    dataset = Dataset(folder)
    random = np.random.default_rng(0)
    grid = Geometry(SMALL)
    k, j, i = np.indices(SMALL)
    ball = ((k - 6) ** 2 + (j - 12) ** 2 + (i - 12) ** 2 < 30).astype(np.uint8)
    labelled = np.zeros_like(ball)
    labelled[[4, 8]] = ball[[4, 8]]
    for number in range(count):
        name = f"v{number:04}"
        write_array(folder / f"{name}.nii", (100 * ball + random.normal(0, 20, SMALL)).astype(np.int16), grid)
        write_label_maps(folder / f"{name}-s.nii", [LabelMap(labelled, grid)])
        dataset.rows.append({"image": f"{name}.nii", "support": f"{name}-s.nii", "name": name})
    dataset.write()
    return dataset


def memory(folder: Path, count: int, workers: int) -> Table:
    """Memory of scheduler and parent as a simulated dataset passes."""
    case_folder = folder / "simulated"
    case_folder.mkdir()
    dataset = simulated(case_folder, count)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    port = address.rpartition(":")[2]
    scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show")
    others = [
        start("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        for _ in range(workers)
    ]
    table = Table(
        "cases done", "scheduler MiB", "parent MiB", title=f"{count} volumes of {SMALL[::-1]}, {workers} workers"
    )
    noted: set[int] = set()

    def watch(tally: BatchProgress) -> None:
        step = max(1, count // 10)
        if tally.done and tally.done % step == 0 and tally.done not in noted:
            noted.add(tally.done)
            table.add_row(str(tally.done), f"{resident(scheduler.pid):.1f}", f"{resident(os.getpid()):.1f}")

    try:
        done = run(dataset, lambda: scheduler_cluster(address), watch)
    finally:
        for process in (*others, scheduler):
            process.terminate()
            process.wait()
    table.caption = (
        f"{done.per_minute:.0f} cases/min; {1000 * done.parent / done.cases:.0f} ms of the parent for each"
    )
    return table


def start(program: str, *words: str) -> subprocess.Popen[bytes]:
    """One of dask's own programs."""
    command = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.{program}", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def resident(pid: int) -> float:
    """Resident memory of a process in MiB, on Linux."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=24, help="of the real volume")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--simulated", type=int, default=2000, help="small volumes; 0 leaves this out")
    options = parser.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="batch-benchmark-") as folder:
        console.print(throughput(Path(folder), options.cases, options.workers))
        if options.simulated:
            console.print(memory(Path(folder), options.simulated, max(options.workers)))


if __name__ == "__main__":
    main()
