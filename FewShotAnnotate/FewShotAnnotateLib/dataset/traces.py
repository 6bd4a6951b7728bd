"""A batch that is refused leaves its folder as it found it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..core import paths
from ..core.errors import InputError

# Another batch is at work there: what is new is that one's.
_OF_ANOTHER = "batch_busy"


@contextlib.contextmanager
def no_trace_if_refused(folder: Path) -> Iterator[None]:
    """Remove what was made in and above a folder in the block if that raises `InputError` before a case has run."""
    before = {path.name for path in paths.entries(folder)}
    missing = [path for path in (folder, *folder.parents) if not paths.is_occupied(path)]
    try:
        yield
    except InputError as error:
        new = [path for path in paths.entries(folder) if path.name not in before]
        if error.code != _OF_ANOTHER and not any(map(paths.is_folder, new)):
            with contextlib.suppress(OSError, ValueError):  # what cannot be removed is harmless
                for path in new:
                    path.unlink(missing_ok=True)
                for path in missing:
                    path.rmdir()
        raise
