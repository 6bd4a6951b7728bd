"""Exit codes of the command line and of worker processes."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a process ended; the codes are part of the command line's interface."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    # EX_IOERR of sysexits.h: a worker that cannot write has nothing but this code to say so.
    CANNOT_WRITE = 74
    # By SIGINT and SIGTERM, as shells report it: 128 + the signal's number.
    CANCELLED = 130
    TERMINATED = 143
