"""Script: the worker, which runs one layer of a job folder in a separate process, see `process`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.ndimage  # noqa: F401 (loaded early, because loading it hangs when memory is nearly exhausted)

if __name__ == "__main__":
    # Replaces this file's folder, so that the package of this file is imported even if another one is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from fewshot_annotate import __version__
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.core.events import Cancelled, Event, Expected, Failed, Finished, Started, Warned, exit_code_of
from fewshot_annotate.core.exit_codes import ExitCode
from fewshot_annotate.core.unexpected_errors import fingerprint, is_out_of_memory, traceback_lines
from fewshot_annotate.engines.base import Engine, RunContext, Stopped, label_slice
from fewshot_annotate.engines.registry import engine_for
from fewshot_annotate.engines.threads import temporary_compile_cache
from fewshot_annotate.jobs.filling import Filling, SliceResults
from fewshot_annotate.jobs.host_monitor import host_liveness_check
from fewshot_annotate.jobs.progress import RunProgress
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.slice_writer import SliceWriter
from fewshot_annotate.jobs.work_folder import WorkFolder

HOST_CHECK_SECONDS = 1.0
# Time that a worker has to finish its current slice after its host has exited.
ORPHAN_SECONDS = 10.0


class EventsUnwritableError(Exception):
    """The events file cannot be written."""


class EventWriter:
    """Writes events to the folder and to stdout, even after stdout was closed by its reader, from any thread."""

    def __init__(self, folder: WorkFolder) -> None:
        self._lock = threading.Lock()
        try:
            self._file = folder.events_path.open("a+b", buffering=0)
            if self._file.seek(0, os.SEEK_END):
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":  # an earlier worker crashed while it wrote a line
                    self._file.write(b"\n")
        except OSError as error:
            raise EventsUnwritableError from error

    def __call__(self, event: Event) -> None:
        """Print the event and write it to the events file."""
        line = event.to_line() + "\n"
        data = line.encode("ascii")
        with self._lock:
            try:
                print(line, end="", flush=True)
            except OSError:
                sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (stays open as stdout)
            try:
                written = self._file.write(data)
            except OSError as error:
                raise EventsUnwritableError from error
            if written != len(data):
                raise EventsUnwritableError

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class HostMonitor:
    """True once the host process has exited; then ends this process if the run does not end soon."""

    def __init__(self, host_pid: int) -> None:
        self._alive = host_liveness_check(host_pid)
        self._gone = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __bool__(self) -> bool:
        return self._gone.is_set()

    def _watch(self) -> None:
        while self._alive():
            time.sleep(HOST_CHECK_SECONDS)
        self._gone.set()
        time.sleep(ORPHAN_SECONDS)
        os._exit(ExitCode.CANCELLED)


def run(
    folder: JobFolder,
    report: Callable[[Event], None],
    host_monitor: object,
    drafts_only: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Event:
    """Fill the pending slices of a folder, first with drafts if the engine makes any, and return the last event."""
    progress = RunProgress(folder, report, clock)
    progress.report_progress()
    if folder.pending():
        try:
            _fill(folder, report, progress, lambda: bool(host_monitor) or folder.cancel_requested(), drafts_only)
        except Stopped:
            if folder.pending():
                return Cancelled()
    return Finished(round(progress.seconds, 3))


def _fill(
    folder: JobFolder,
    report: Callable[[Event], None],
    progress: RunProgress,
    stop: Callable[[], bool],
    drafts_only: bool,
) -> None:
    job, support = folder.job, folder.read_support()
    engine = engine_for(job)
    with SliceWriter(folder) as writer:

        def write(index: int, probabilities: np.ndarray, draft: bool) -> None:
            writer.write(index, *label_slice(probabilities, support.labels), draft)
            progress.slice_written(index, draft)

        def write_all(results: SliceResults, draft: bool) -> None:
            count = 0
            for count, (index, probabilities) in enumerate(results, start=1):  # noqa: B007
                write(index, probabilities, draft)
            if count:
                _report_expected_dice(engine, folder, report)

        context = RunContext(
            on_progress=progress.report_fraction,
            warn=lambda message: report(Warned.of(message)),
            report_draft=lambda index, probabilities: write(index, probabilities, draft=True),
            stop=stop,
            deadline=progress.deadline,
            names=job.names,
            model=None if job.model is None else Path(job.model),
        )
        filling = Filling(engine, folder.read_volume(), support, folder.pending(), context)
        write_all(filling.drafts(np.flatnonzero(folder.finished())), draft=True)
        if not drafts_only:
            write_all(filling.results(), draft=False)


def _report_expected_dice(engine: Engine, folder: JobFolder, report: Callable[[Event], None]) -> None:
    expected = engine.expected_dice()
    if expected:
        folder.write_expected_dice(expected)
    for label_dice in expected:
        report(Expected(**label_dice.to_json()))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    parser = worker_parser("Fill the slices of one job folder.")
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--drafts-only", action="store_true")
    options = parser.parse_args(arguments)
    folder = JobFolder.open(options.folder, options.layer)
    return run_worker(
        folder, Path(__file__), lambda report: run(folder, report, HostMonitor(options.host_pid), options.drafts_only)
    )


def worker_parser(description: str) -> argparse.ArgumentParser:
    """Argument parser of a worker script, with its folder and the process id of its host."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host-pid", type=int, required=True)
    return parser


def run_worker(folder: WorkFolder, script: Path, work: Callable[[EventWriter], Event]) -> int:
    """Run a job while its folder is locked, report its last event, and return the exit code.

    Parameters
    ----------
    folder : WorkFolder
    script : Path
        The worker script.
    work : function
        Receives the event writer, returns the last event.
    """
    with temporary_compile_cache(), folder.exclusive(), contextlib.closing(EventWriter(folder)) as report:
        report(Started(os.getpid(), __version__, str(script.resolve())))
        try:
            ending = work(report)
        except EventsUnwritableError:
            raise
        except InputError as error:
            ending = Failed.of(error)
        except Exception as error:
            print("\n".join(traceback_lines(error)), file=sys.stderr)
            ending = Failed.of(_failure(error))
        report(ending)
        return exit_code_of(ending)


def run_program(program: Callable[[list[str]], int]) -> int:
    """Run a worker script and return its exit code; errors of the input become the last line of the log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is handled by the host, which creates the cancel file
    try:
        return program(sys.argv[1:])
    except InputError as error:
        print(Failed.of(error).to_line(), file=sys.stderr)  # for the host
        return ExitCode.BAD_INPUT
    except EventsUnwritableError:
        return ExitCode.CANNOT_WRITE
    finally:
        # The process ends with all its memory: to search torch's objects for garbage first takes a second.
        gc.freeze()


def _failure(error: Exception) -> Message:
    if is_out_of_memory(error):
        return Message("run_memory_short")
    if isinstance(error, OSError):
        return Message("run_folder_failed", detail=error.strerror or type(error).__name__)
    return Message("worker_failed", kind=type(error).__name__, number=fingerprint(error))


if __name__ == "__main__":
    sys.exit(run_program(main))
