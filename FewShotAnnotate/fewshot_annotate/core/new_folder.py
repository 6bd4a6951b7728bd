"""New folders that are removed again if what is to be in them cannot be written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from . import paths


@contextlib.contextmanager
def new_folder(path: Path, mode: int = 0o777) -> Iterator[None]:
    """Context manager: create a folder and its parents where missing.

    If it cannot be created or the block raises, the folders created here are removed again if they are empty.

    Parameters
    ----------
    path : Path
        It may exist.
    mode : int
        Permissions of the folder, before the umask.

    Raises
    ------
    OSError
        It cannot be created.
    """
    missing = [above for above in (path, *path.parents) if not paths.exists(above)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # another process created it, or works in it
                folder.rmdir()
        raise
