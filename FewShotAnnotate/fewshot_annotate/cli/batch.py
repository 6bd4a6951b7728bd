"""`batch`: many volumes, from a manifest into a folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.job import Device
from ..core.text import printable
from ..datasets.batch import BadRowsError, WorkerPool, WorkersLost, run_batch
from ..datasets.batch_state import CANCELLED, BatchProgress
from ..datasets.case_plan import BatchSettings
from ..datasets.local_processes import LocalProcesses
from ..datasets.manifest import OPTIONAL, REQUIRED, read_manifest
from ..datasets.status import CaseStatus, Status
from .arguments import (
    add_clean_up,
    add_engine,
    add_partial,
    add_progress,
    add_settings,
    add_slices,
    add_task,
    parse_clean_up,
    parse_count,
    parse_engine_options,
    parse_slice_range,
    parse_time_limit,
)
from .labels import add_regrid_options, consents
from .messages import error_text
from .progress import Bar, Column, Display, open_display, time_left

_OPEN = "everybody who reaches this port can run programs as you; start the scheduler with certificates (tls://)."
_MESSAGE_PREFIX = {Status.FAILED: "fewshot-annotate", Status.DONE: "Note"}

# Upper bounds, so that a mistyped number does not overload the machine.
MAX_WORKERS = 256
MAX_THREADS = 1024


def add_arguments(batch: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    batch.set_defaults(command=_batch)
    batch.add_argument(
        "manifest",
        metavar="MANIFEST.csv",
        type=Path,
        help=f"table with the columns {', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}",
    )
    batch.add_argument("-o", "--output", metavar="OUT_DIR", type=Path, required=True, help="folder to write")
    batch.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="run the valid rows although others cannot be run, which then count as failed",
    )
    batch.add_argument("--resume", action="store_true", help="run only the cases that are not done yet in OUT_DIR")
    add_engine(batch)
    add_task(batch, "whose model is used for rows that name no task; their support may be empty")
    add_slices(batch, "slices to fill")
    add_settings(batch)
    add_regrid_options(batch)
    add_partial(batch)
    add_clean_up(batch)
    batch.add_argument(
        "--budget", metavar="SECONDS", help="time limit per case, in seconds (ignored by engines without one)"
    )
    batch.add_argument(
        "--threads",
        metavar="N",
        default="1",
        help="processor cores that a case may use (default: %(default)s); results may depend on it in the last digit",
    )
    where = batch.add_mutually_exclusive_group()
    where.add_argument("--workers", metavar="N", help="run N cases at the same time on this machine (default: 1)")
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of this dask scheduler, tls://HOST:PORT (certificates: those of dask's configuration); "
        "with tcp://HOST:PORT anyone who can reach the port can run programs as you",
    )
    add_progress(batch)


def _batch(options: argparse.Namespace) -> int:
    settings = BatchSettings(
        slices=parse_slice_range(options.slices or ("all" if options.task else "between")),
        device=Device(options.device),
        options=parse_engine_options(options.engine, options.settings),
        budget=parse_time_limit(options.budget),
        agreed=consents(options),
        complete=not options.partial,
        clean_up=parse_clean_up(options.clean_up),
    )
    make_pool = _pool(options)
    manifest = read_manifest(options.manifest, options.task or "")
    if manifest.unknown:
        columns = printable(", ".join(manifest.unknown))
        print(f"fewshot-annotate: unknown columns are ignored: {columns}.", file=sys.stderr)
    try:
        with open_display(options.progress, _display(options)) as report:
            cases = run_batch(
                manifest,
                options.output,
                settings,
                make_pool,
                engine=options.engine,
                resume=options.resume,
                remote=options.scheduler is not None,
                skip_bad_rows=options.skip_bad_rows,
                report=report,
            )
    except BadRowsError as bad:
        others = len(manifest.cases) + len(manifest.bad_rows) > len(bad.errors)
        for error in bad.errors:
            hint = " (--skip-bad-rows runs the other rows)" if others and error is bad.errors[-1] else ""
            print(f"fewshot-annotate: {printable(error_text(error, options))}{hint}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    except WorkersLost as lost:
        print(f"fewshot-annotate: {error_text(lost.error)}", file=sys.stderr)
        return ExitCode.FAILED
    counts = {status: sum(case.status is status for case in cases.values()) for status in Status}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    print(f"{printable(options.output)}: {summary}", file=sys.stderr if options.progress == "json" else sys.stdout)
    if counts[Status.SKIPPED]:
        print(f"fewshot-annotate: {CANCELLED}; --resume runs what is left.", file=sys.stderr)
        return ExitCode.CANCELLED
    return ExitCode.FAILED if counts[Status.FAILED] else ExitCode.DONE


def _pool(options: argparse.Namespace) -> Callable[[], WorkerPool]:
    threads = parse_count(options.threads, "threads", MAX_THREADS)
    workers = parse_count("1" if options.workers is None else options.workers, "workers", MAX_WORKERS)
    if options.scheduler is None:
        _require_own_python()
        _require_current_folder()
        return lambda: LocalProcesses(workers, threads)
    from ..datasets.cluster import lacks_certificates, require_distributed, scheduler_cluster

    require_distributed()

    def connected() -> WorkerPool:
        pool = scheduler_cluster(options.scheduler)
        if lacks_certificates(options.scheduler):
            print(f"fewshot-annotate: {options.scheduler}: {_OPEN}", file=sys.stderr)
        return pool

    return connected


def _require_own_python() -> None:
    """Refuse a Python inside an application: processes that it starts would run the application once more."""
    application = getattr(sys.modules.get("slicer"), "app", None)  # PythonSlicer has none
    if type(application).__name__.startswith("qSlicer"):
        raise InputError("batch_in_slicer")


def _require_current_folder() -> None:
    """Refuse a current folder that is gone or closed: the processes of a batch begin in it."""
    try:
        os.chdir(Path.cwd())
    except OSError as error:
        raise InputError("current_folder_closed", detail=error.strerror) from None


def _display(options: argparse.Namespace) -> Display[BatchProgress]:
    """How progress is shown; messages about cases are always printed, on stderr."""

    def lines(progress: BatchProgress) -> Iterator[str]:
        case = progress.case
        if case is not None and case.message and case.status in _MESSAGE_PREFIX:
            names_row = case.error is not None and case.error.code == "manifest_row"
            name = "" if names_row else f"{case.name}: "
            yield printable(f"{_MESSAGE_PREFIX[case.status]}: {name}{_message(case, options)}")

    def show(bar: Bar, progress: BatchProgress) -> None:
        filling = f"Filling, {progress.failed} failed" if progress.failed else "Filling"
        has_begun = progress.case is not None or progress.running
        doing = filling if has_begun else "Starting"
        bar.update(doing, progress.done + progress.failed, progress.total, left=time_left(progress.eta))
        for line in lines(progress):
            bar.print(line)

    def print_lines(progress: BatchProgress) -> None:
        for line in lines(progress):
            print(line, file=sys.stderr)

    return Display(
        columns=("{task.completed:.0f}/{task.total:.0f} cases", Column.ELAPSED, "{task.fields[left]}"),
        show=show,
        line_of=lambda progress: _as_line(progress, options),
        quiet=print_lines,
    )


def _message(case: CaseStatus, options: argparse.Namespace) -> str:
    return case.message if case.error is None else error_text(case.error, options)


def _as_line(progress: BatchProgress, options: argparse.Namespace) -> str:
    counts = {name: getattr(progress, name) for name in ("done", "failed", "running", "total")}
    if progress.case is None:
        return json.dumps({"event": "batch", "counts": counts, "eta": progress.eta})
    case = asdict(replace(progress.case, message=_message(progress.case, options), error=None))
    del case["accepted"], case["error"], case["patient"]
    return json.dumps({"event": "case", **case, "counts": counts, "eta": progress.eta}, ensure_ascii=True)
