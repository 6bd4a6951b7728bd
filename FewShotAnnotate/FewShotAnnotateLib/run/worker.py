"""The worker: runs one job folder to its end in a process of its own. Started by path, see `process.py`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    # In place of this file's folder: the package must be the one this file belongs to, whatever is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from FewShotAnnotateLib import __version__
from FewShotAnnotateLib.core.errors import InputError
from FewShotAnnotateLib.core.event import Cancelled, Event, Expected, Failed, Finished, Started, Warned
from FewShotAnnotateLib.core.unforeseen import code_of, is_memory_short, places
from FewShotAnnotateLib.engines import runnable_engine
from FewShotAnnotateLib.engines.base import Engine, Stopped, label_slice
from FewShotAnnotateLib.engines.threads import own_compile_cache
from FewShotAnnotateLib.run.folder import CANNOT_WRITE, JobFolder, SliceWriter
from FewShotAnnotateLib.run.host_watch import host_watch
from FewShotAnnotateLib.run.pace import Pace
from FewShotAnnotateLib.run.work_folder import WorkFolder

EXIT_CODES = {Finished: 0, Failed: 1, Cancelled: 130}
BAD_INPUT = 2
HOST_CHECK_SECONDS = 1.0
# A worker without a host may finish the slice it is at, but not stay longer than this.
ORPHAN_SECONDS = 10.0


class CannotWrite(Exception):
    """The folder takes no more events."""


class Reporter:
    """Writes events to the folder and to stdout; a reader that went away stops neither."""

    def __init__(self, folder: WorkFolder) -> None:
        try:
            self._file = folder.events_path.open("a+b", buffering=0)
            if self._file.seek(0, os.SEEK_END):
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":  # torn by the death of an earlier worker
                    self._file.write(b"\n")
        except OSError as error:
            raise CannotWrite from error

    def __call__(self, event: Event) -> None:
        line = event.to_line() + "\n"
        try:
            print(line, end="", flush=True)
        except OSError:
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (stays open as stdout)
        data = line.encode("ascii")
        try:
            written = self._file.write(data)
        except OSError as error:
            raise CannotWrite from error
        if written != len(data):
            raise CannotWrite

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Orphaned:
    """Turns true when the host is gone, and ends the process if the run does not end by itself."""

    def __init__(self, host_pid: int) -> None:
        self._alive = host_watch(host_pid)
        self._gone = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __bool__(self) -> bool:
        return self._gone.is_set()

    def _watch(self) -> None:
        while self._alive():
            time.sleep(HOST_CHECK_SECONDS)
        self._gone.set()
        time.sleep(ORPHAN_SECONDS)
        os._exit(EXIT_CODES[Cancelled])


def run(folder: JobFolder, report: Reporter, orphaned: Orphaned, drafts_only: bool) -> Event:
    """Fill the pending slices of a folder, first with drafts if the engine makes any, and return how it ended."""
    pace = Pace(folder, report, lambda: bool(orphaned) or folder.cancel_requested())
    pace.tell()
    if folder.pending():
        try:
            _fill(folder, report, pace, drafts_only)
        except Stopped:
            if folder.pending():
                return Cancelled()
    left = len(folder.pending())
    if left and not drafts_only:
        return Failed(f"Engine {folder.job.engine} gave no result for {left} slices.")
    return Finished(round(pace.seconds, 3))


def _fill(folder: JobFolder, report: Reporter, pace: Pace, drafts_only: bool) -> None:
    job = folder.job
    engine = runnable_engine(job.engine)(job.device, job.options)
    engine.pulse, engine.deadline = pace.pulse, pace.deadline
    engine.warn = lambda message: report(Warned(message))
    engine.names = job.names
    support = folder.read_support()
    pending = folder.pending()
    with SliceWriter(folder) as writer:

        def write_one(index: int, probabilities: np.ndarray, draft: bool) -> None:
            writer.write(index, *label_slice(probabilities, support.labels), draft)
            pace.wrote(index, draft)

        def offer(index: int, probabilities: np.ndarray) -> None:
            if index in pending:
                write_one(index, probabilities, draft=True)

        def write(results: Iterator[tuple[int, np.ndarray]], asked: Sequence[int], draft: bool) -> int:
            count = 0
            for index, probabilities in results:
                if index in asked:
                    write_one(index, probabilities, draft)
                    count += 1
            return count

        engine.offer = offer
        engine.prepare(folder.read_volume(), support)
        pace.require_going()
        written = folder.finished()
        unwritten = [index for index in pending if not written[index]]

        if unwritten and write(engine.draft(unwritten), unwritten, draft=True):
            _tell_expected(engine, folder, report)
        if not drafts_only and write(engine.predict(pending), pending, draft=False):
            _tell_expected(engine, folder, report)


def _tell_expected(engine: Engine, folder: JobFolder, report: Reporter) -> None:
    expected = engine.expected()
    if expected:
        folder.write_expected(expected)
    for one in expected:
        report(Expected(**one.to_json()))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Fill the slices of one job folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host-pid", type=int, required=True)
    parser.add_argument("--drafts-only", action="store_true")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the host's; it asks by the cancel file
    folder = JobFolder.open(options.folder)
    return serve(
        folder, Path(__file__), lambda report: run(folder, report, Orphaned(options.host_pid), options.drafts_only)
    )


def serve(folder: WorkFolder, script: Path, work: Callable[[Reporter], Event]) -> int:
    """Do a worker's work while its folder is locked, tell how it ended, and return the exit code.

    Parameters
    ----------
    folder : WorkFolder
    script : Path
        The worker's file.
    work : function
        Takes the reporter, returns the ending.
    """
    with own_compile_cache(), folder.exclusive(), contextlib.closing(Reporter(folder)) as report:
        report(Started(os.getpid(), __version__, str(script.resolve())))
        try:
            ending = work(report)
        except CannotWrite:
            raise
        except InputError as error:
            ending = Failed(str(error), error.code)
        except Exception as error:
            print("\n".join(places(error)), file=sys.stderr)
            ending = Failed(_plain_sentence(error))
        report(ending)
        if isinstance(ending, Failed) and ending.code:
            return BAD_INPUT
        return EXIT_CODES[type(ending)]


def exit_code(program: Callable[[list[str]], int]) -> int:
    """Exit code of a worker's program, whose refusals go to the log's last line."""
    try:
        return program(sys.argv[1:])
    except InputError as error:
        print(Failed(str(error), error.code).to_line(), file=sys.stderr)  # for the host
        return BAD_INPUT
    except CannotWrite:
        return CANNOT_WRITE


def _plain_sentence(error: Exception) -> str:
    if is_memory_short(error):
        return "There is not enough memory for this engine on this volume."
    if isinstance(error, OSError):
        return f"The job folder cannot be read or written ({error.strerror or error})."
    return f"An unforeseen error ended the run ({type(error).__name__}, code {code_of(error)}); see worker.log."


if __name__ == "__main__":
    sys.exit(exit_code(main))
