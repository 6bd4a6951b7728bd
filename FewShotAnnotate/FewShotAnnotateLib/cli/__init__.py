"""The command line: the same rooms as the Slicer module, without Slicer. One file per command.

Exit codes: 0 done, 2 bad input, 1 failed, 130 cancelled.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..core.dicom_folder import SERIES_ERRORS
from ..core.errors import InputError
from ..core.event import Cancelled, Event, Failed, Finished
from ..core.interrupts import ending_in_order
from ..core.temporary import remove_abandoned
from ..core.text import shown
from . import batch, compare, demo, export, fill, library, models, suggest
from .labels import mending_flag
from .running import Unfinished, sentence
from .terminal import OutputLost, abandon_stdout, safe_streams
from .unforeseen import is_shown, sentence_of

COMMANDS = (fill, suggest, compare, batch, library, export, demo, models)
EXIT_CODES: dict[type[Event], int] = {Finished: 0, Failed: 1, Cancelled: 130}
BAD_INPUT = 2
# The flag that helps with an error; the sentences themselves name none, for Slicer shows them too.
FLAGS = dict.fromkeys(SERIES_ERRORS, "--series")
# Errors that are no fault of the input.
_FAILURES = ("output_kept_elsewhere",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    with ending_in_order(), safe_streams():
        try:
            options = _parser().parse_args(arguments)
            remove_abandoned(Path(tempfile.gettempdir()))
            code = _run(options)
            sys.stdout.flush()
        except OutputLost as lost:
            abandon_stdout()
            _tell(f"what was to be printed cannot be written ({lost.detail}); files it names are complete.")
            return EXIT_CODES[Failed]
        except BrokenPipeError:  # whoever read our output is gone, so there is nobody to tell
            abandon_stdout()
            return EXIT_CODES[Failed]
        except KeyboardInterrupt:
            _tell("cancelled; no output was written.")
            return EXIT_CODES[Cancelled]
        return code


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.command(options)
    except InputError as error:
        _tell(f"{error}{_flag(error, options)}")
        return EXIT_CODES[Failed] if error.code in _FAILURES else BAD_INPUT
    except Unfinished as unfinished:
        _tell(sentence(unfinished))
        if isinstance(unfinished.ending, Failed) and unfinished.ending.code:
            return BAD_INPUT
        return EXIT_CODES[type(unfinished.ending)]
    except (OutputLost, BrokenPipeError):
        raise
    except Exception as error:
        if is_shown():
            raise
        _tell(sentence_of(error))
        return EXIT_CODES[Failed]
    return code


def _tell(message: str) -> None:
    print(f"fewshot-annotate: {shown(message)}", file=sys.stderr)


def _flag(error: InputError, options: argparse.Namespace) -> str:
    """The flag that helps with an error, in brackets behind a space."""
    return f" ({FLAGS[error.code]})" if error.code in FLAGS else mending_flag(error, options)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"fewshot-annotate: {shown(message)}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fewshot-annotate",
        description="Label a few slices of a medical volume and let the rest be filled.",
        epilog="Exit codes: 0 done, 2 bad input, 1 failed, 130 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"fewshot-annotate {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(verbs)
    return parser
