"""Command line interface; one file per command.

Exit codes: 0 done, 2 bad input, 1 failed, 130 cancelled. `ExitCode` also has those of worker processes.

Only fast imports here, so that signals are handled while the rest of the program loads.
"""

from __future__ import annotations

import gc
import sys
import time

CANCELLED = "cancelled; no output was written."

try:
    import contextlib

    from ..core.exit_codes import ExitCode
    from ..core.signals import ignore_signals, signals_as_interrupt
except KeyboardInterrupt:  # only the program itself imports this package
    print(f"fewshot-annotate: {CANCELLED}", file=sys.stderr)
    sys.exit(130)  # `ExitCode.CANCELLED`, which may not be imported yet

TYPE_CHECKING = False  # of typing, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    began = time.monotonic()
    is_program = arguments is None
    if is_program:
        gc.disable()  # until the command begins: nothing that loads is garbage
    try:
        with signals_as_interrupt():
            from .program import run

            return run(arguments, began)
    except KeyboardInterrupt:
        with ignore_signals(), contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                print(f"fewshot-annotate: {CANCELLED}", file=sys.stderr)
        return ExitCode.CANCELLED
    finally:
        if is_program:
            gc.freeze()  # the process ends with all its memory
        exec("")  # resets Python's note of an interrupt within `exec`, for which it would end itself by SIGINT
