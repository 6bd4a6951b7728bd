"""`batch`: many volumes, from a manifest into a folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..core.job import Device
from ..core.text import shown
from ..dataset.batch import CANCELLED, Pool, PoolLost, Tally, run_batch
from ..dataset.case import Settings
from ..dataset.local_processes import LocalProcesses
from ..dataset.manifest import read_manifest
from ..dataset.status import Status
from .arguments import (
    add_engine,
    add_partial,
    add_progress,
    add_settings,
    as_count,
    as_engine_options,
    as_seconds,
    as_slice_range,
)
from .labels import add_regrid, agreed
from .terminal import bar_console

_OPEN = "everybody who reaches this port can run programs as you; start the scheduler with certificates (tls://)."
_DONE, _FAILED, _CANCELLED = 0, 1, 130

# A mistyped number must not fill the machine with processes.
MAX_WORKERS = 256
MAX_THREADS = 1024


def add(verbs: Any) -> None:
    """Add the command to the parser's subcommands."""
    batch = verbs.add_parser("batch", help="fill many volumes that a manifest lists")
    batch.set_defaults(command=_batch)
    batch.add_argument(
        "manifest",
        metavar="MANIFEST.csv",
        type=Path,
        help="table with columns image,support and optionally name,engine,axis,labelled_slices,library,series",
    )
    batch.add_argument("-o", "--output", metavar="OUT_DIR", type=Path, required=True, help="folder to write")
    batch.add_argument("--resume", action="store_true", help="run only what is not done yet in OUT_DIR")
    add_engine(batch)
    batch.add_argument(
        "--slices", default="between", metavar="between|all|A:B", help="what to fill (default: %(default)s)"
    )
    add_settings(batch)
    add_regrid(batch)
    add_partial(batch)
    batch.add_argument("--budget", metavar="SECONDS", help="time limit for each case")
    batch.add_argument(
        "--threads",
        metavar="N",
        default="1",
        help="processor cores that a case may use (default: %(default)s); results may depend on it in the last digit",
    )
    where = batch.add_mutually_exclusive_group()
    where.add_argument("--workers", metavar="N", help="run N cases at the same time on this machine")
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of this dask scheduler, tls://HOST:PORT (certificates: those of dask's configuration); "
        "with tcp://HOST:PORT everybody who reaches the port can run programs as you",
    )
    add_progress(batch)


def _batch(options: argparse.Namespace) -> int:
    settings = Settings(
        as_slice_range(options.slices),
        Device(options.device),
        as_engine_options(options.engine, options.settings),
        as_seconds(options.budget),
        agreed(options),
        not options.partial,
    )
    make_pool = _pool(options)
    manifest = read_manifest(options.manifest)
    if manifest.unknown:
        columns = shown(", ".join(manifest.unknown))
        print(f"fewshot-annotate: columns that mean nothing here are passed over: {columns}.", file=sys.stderr)
    try:
        with _shown(options.progress, len(manifest.cases)) as report:
            cases = run_batch(
                manifest,
                options.output,
                settings,
                make_pool,
                engine=options.engine,
                resume=options.resume,
                elsewhere=options.scheduler is not None,
                report=report,
            )
    except PoolLost as lost:
        print(f"fewshot-annotate: {shown(lost)}", file=sys.stderr)
        return _FAILED
    counts = {status: sum(case.status is status for case in cases.values()) for status in Status}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    print(f"{shown(options.output)}: {told}", file=sys.stderr if options.progress == "json" else sys.stdout)
    if counts[Status.SKIPPED]:
        print(f"fewshot-annotate: {CANCELLED}; --resume runs what is left.", file=sys.stderr)
        return _CANCELLED
    return _FAILED if counts[Status.FAILED] else _DONE


def _pool(options: argparse.Namespace) -> Callable[[], Pool]:
    threads = as_count(options.threads, "threads", MAX_THREADS)
    workers = as_count("1" if options.workers is None else options.workers, "workers", MAX_WORKERS)
    if options.scheduler is None:
        return lambda: LocalProcesses(workers, threads)
    from ..dataset.cluster import is_open, require_distributed, scheduler_cluster

    require_distributed()

    def connected() -> Pool:
        pool = scheduler_cluster(options.scheduler)
        if is_open(options.scheduler):
            print(f"fewshot-annotate: {options.scheduler}: {_OPEN}", file=sys.stderr)
        return pool

    return connected


@contextmanager
def _shown(kind: str, total: int) -> Iterator[Callable[[Tally], None]]:
    """A function that shows how far the batch is; failed cases get their line on stderr in any case."""
    if kind == "json":
        yield lambda tally: print(_as_line(tally), flush=True)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} cases"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = bar_console()
    with Progress(*columns, console=console, disable=kind == "none") as bar:
        row = bar.add_task("Starting", total=total, visible=False)

        def show(tally: Tally) -> None:
            doing = (
                "Starting" if tally.case is None else f"Filling, {tally.failed} failed" if tally.failed else "Filling"
            )
            bar.update(row, completed=tally.done + tally.failed, description=doing, visible=True)
            if tally.case is not None and tally.case.status is Status.FAILED:
                # not folded: the line is the same in a log and on a terminal
                console.print(shown(f"fewshot-annotate: {tally.case.name}: {tally.case.message}"), soft_wrap=True)

        yield show


def _as_line(tally: Tally) -> str:
    counts = {name: getattr(tally, name) for name in ("done", "failed", "running", "total")}
    if tally.case is None:
        return json.dumps({"event": "batch", "counts": counts})
    case = asdict(tally.case)
    del case["accepted"]
    return json.dumps({"event": "case", **case, "counts": counts}, ensure_ascii=True)
