"""take_lock: the system's lock on a file, which ends with the process that has it, however that ends."""

from __future__ import annotations

import os
from typing import IO


def take_lock(file: IO[bytes]) -> bool:
    """Take the system's lock on an open file, or say that another process has it."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
