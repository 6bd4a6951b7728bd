"""Clean-up of the folder of a batch that was refused before it started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..core import paths
from ..core.errors import InputError

# New files belong to the other batch that runs in the folder.
_OTHER_BATCH_ERROR = "batch_busy"


@contextlib.contextmanager
def no_trace_if_refused(folder: Path) -> Iterator[None]:
    """Context manager: remove new files and folders if the block raises `InputError` before a case has run."""
    before = {path.name for path in paths.entries(folder)}
    missing = [path for path in (folder, *folder.parents) if not paths.lexists(path)]
    try:
        yield
    except InputError as error:
        new = [path for path in paths.entries(folder) if path.name not in before]
        if error.code != _OTHER_BATCH_ERROR and not any(map(paths.is_folder, new)):
            with contextlib.suppress(OSError, ValueError):  # what cannot be removed is harmless
                for path in new:
                    path.unlink(missing_ok=True)
                for path in missing:
                    path.rmdir()
        raise
