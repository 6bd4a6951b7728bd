"""The program `fewshot-annotate`: its commands, error messages and exit codes.

The module of a command is imported when that command is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..core.data_folder import data_folder
from ..core.errors import FAILURES, InputError
from ..core.events import Unfinished, exit_code_of
from ..core.exit_codes import ExitCode
from ..core.file_transaction import files_written
from ..core.library_warnings import suppress_library_warnings
from ..core.signals import ignore_signals
from ..core.temporary import remove_abandoned_folders, system_folder
from ..core.text import printable, shortened
from ..core.unexpected_errors import LOG_NAME, TRACEBACK_VARIABLE, append_to_log, error_fingerprint, is_out_of_memory
from . import CANCELLED
from .activity_indicator import command_begins, starting
from .terminal import StdoutError, discard_stdout, safe_streams

# Name of each command, which is that of its module, and its summary.
COMMANDS = {
    "fill": "fill the slices between labelled ones",
    "suggest": "which slice to label next, best first, as JSON",
    "compare": "which engine fills your slices best, as a report",
    "batch": "fill many volumes that a manifest lists",
    "manifest": "the table of cases for batch, from folders of images and label maps",
    "task": "labelled examples of a labelling job, and models trained on them",
    "dataset": "export accepted cases as a data set that other programs train on",
    "library": "labelled slices kept for volumes of other patients; predecessor of task",
    "export": "write a label map as DICOM SEG, NIfTI, NRRD or .seg.nrrd, verified",
    "demo": "fill grey and white matter of the MNI152 brain",
    "models": "the engines and their weights: list, download, import, verify, remove",
}
_CANCELLED_LATE = "cancelled; files that were already finished are kept."
_NO_MEMORY = "there is not enough memory; close other programs, or crop the volume."


def run(arguments: Sequence[str] | None = None, began: float | None = None) -> int:
    """Run a command that began at a time of `time.monotonic()`; returns the exit code."""
    command_begins(began)
    before = files_written()
    with safe_streams(), suppress_library_warnings():
        try:
            with starting():
                options = _parser(sys.argv[1:] if arguments is None else arguments).parse_args(arguments)
                remove_abandoned_folders()
            if not gc.isenabled():  # while the program loaded
                gc.freeze()
                gc.enable()
            code = _run(options)
            sys.stdout.flush()
        except StdoutError as lost:
            discard_stdout()
            _print_error(f"the output cannot be printed ({lost.detail}); files that it names are complete.")
            return ExitCode.FAILED
        except BrokenPipeError:  # the reader of our output has exited
            discard_stdout()
            return ExitCode.FAILED
        except KeyboardInterrupt:
            with ignore_signals():
                _print_error(_CANCELLED_LATE if files_written() > before else CANCELLED)
            return ExitCode.CANCELLED
        except Exception as error:  # before the command began: its modules cannot be loaded
            return _unexpected(error)
        return code


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.command(options)
    except InputError as error:
        from .messages import error_text

        _print_error(error_text(error, options))
        return ExitCode.FAILED if error.code in FAILURES else ExitCode.BAD_INPUT
    except Unfinished as unfinished:
        from .running import unfinished_message

        _print_error(unfinished_message(unfinished, vars(options).get("job_dir")))
        return exit_code_of(unfinished.ending)
    except (StdoutError, BrokenPipeError):
        raise
    except Exception as error:
        return _unexpected(error)
    return code


def _unexpected(error: Exception) -> int:
    if _shows_traceback():
        raise error
    _print_error(_log_and_describe(error))
    return ExitCode.FAILED


def _print_error(message: str) -> None:
    print(f"fewshot-annotate: {printable(message)}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Prints usage errors on one line, as other errors."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()  # a help text that cannot be printed is reported as other output
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.BAD_INPUT, f"fewshot-annotate: {shortened(printable(message))}; see {self.prog} --help.\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and arg_strings == ["--"]:  # argparse would accept it as a missing value
            raise argparse.ArgumentError(action, "'--' is no value")
        if action.type is Path and "" in arg_strings:  # as of an unset variable; it would name the current folder
            raise argparse.ArgumentError(action, "the name is empty")
        return super()._get_values(action, arg_strings)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Parser of a command line; only the command that it names gets its arguments."""
    parser = _Parser(
        prog="fewshot-annotate",
        description="Label a few slices of a medical volume and let the rest be filled.",
        epilog="Exit codes: 0 done, 2 bad input, 1 failed, 130 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"fewshot-annotate {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = subparsers.add_parser(name, help=summary)
        if name == asked:
            import_module(f".{name}", __package__).add_arguments(command)
    return parser


def _shows_traceback() -> bool:
    """Whether full tracebacks are requested by the environment."""
    return bool(os.environ.get(TRACEBACK_VARIABLE))


def _log_and_describe(error: Exception) -> str:
    """Log an unexpected error; returns one line about it for the user."""
    if is_out_of_memory(error):
        return _NO_MEMORY
    written_log = next((log for log in _logs() if append_to_log(error, log, __version__)), None)
    where = (
        f"please report it with what is in {written_log}"
        if written_log
        else f"set {TRACEBACK_VARIABLE}=1 to see where"
    )
    return (
        f"an unexpected error ended this command ({type(error).__name__}, code {error_fingerprint(error)}); {where}."
    )


def _logs() -> list[Path]:
    """Possible paths of the log, best first."""
    folders = []
    with contextlib.suppress(InputError, OSError, RuntimeError):
        folders.append(data_folder() / LOG_NAME)
    with contextlib.suppress(OSError):
        folders.append(system_folder() / f"fewshot-annotate-{LOG_NAME}")
    return folders
