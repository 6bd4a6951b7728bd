"""Exit codes of the command line and of worker processes."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a process ended; the codes are part of the command line's interface."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    # Of worker processes only, EX_IOERR of sysexits.h: one that cannot write has no other way to report it.
    CANNOT_WRITE = 74
    # As shells report SIGINT: 128 + the signal's number.
    CANCELLED = 130
    # The same for SIGTERM; of processes of a batch only, as commands exit with CANCELLED.
    TERMINATED = 143
