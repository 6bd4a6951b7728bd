"""What all worker scripts share: their arguments, the lock of their folder, their events, and their exit code."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..core.errors import InputError, Message
from ..core.events import Event, Failed, Started, exit_code_of
from ..core.exit_codes import ExitCode
from ..core.scipy_loading import load_scipy
from ..core.unexpected_errors import error_fingerprint, is_out_of_memory, traceback_lines
from ..engines.threads import temporary_compile_cache
from .host_monitor import HostMonitor
from .work_folder import WorkFolder

load_scipy()  # early, because loading it hangs when memory is nearly exhausted


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


def worker_parser(description: str) -> argparse.ArgumentParser:
    """Argument parser of a worker script, with its folder and the process id of its host."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host-pid", type=int, required=True)
    return parser


def run_worker(
    folder: WorkFolder, script: Path, host_pid: int, work: Callable[[EventWriter, Callable[[], bool]], Event]
) -> int:
    """Run a job while its folder is locked, report its last event, and return the exit code.

    Parameters
    ----------
    folder : WorkFolder
    script : Path
        The worker script.
    host_pid : int
        Process id of the host.
    work : function
        `work(report, stop)` receives the event writer, and a function that returns whether to stop because the host
        asks for it or is gone; it returns the last event.
    """
    with temporary_compile_cache(), folder.exclusive(), contextlib.closing(EventWriter(folder)) as report:
        report(Started(os.getpid(), __version__, str(script.resolve())))
        host_monitor = HostMonitor(host_pid)
        try:
            ending = work(report, lambda: host_monitor.host_is_gone or folder.cancel_requested())
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
    gc.freeze()
    gc.enable()
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
    return Message("worker_failed", kind=type(error).__name__, number=error_fingerprint(error))
