"""Questions about paths that always get an answer, whatever the path is.

A name of more than 255 bytes, a loop of links, a zero byte or a folder that may not be searched make `pathlib` raise
OSError, ValueError or RuntimeError, differently in each version of Python. These functions never raise them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from .errors import InputError

PathLike = str | os.PathLike[str]
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def status(path: PathLike) -> os.stat_result | None:
    """What the system says of a file or folder, links followed; None if it cannot be reached."""
    try:
        return os.stat(path)  # noqa: PTH116 (a path that pathlib cannot hold is asked for too)
    except (OSError, ValueError):
        return None


def exists(path: PathLike) -> bool:
    """Whether a file or folder can be reached there."""
    return status(path) is not None


def is_folder(path: PathLike) -> bool:
    """Whether it is a folder that can be reached."""
    found = status(path)
    return found is not None and S_ISDIR(found.st_mode)


def is_file(path: PathLike) -> bool:
    """Whether it is a regular file that can be reached: no folder, pipe or device."""
    found = status(path)
    return found is not None and S_ISREG(found.st_mode)


def size(path: PathLike) -> int:
    """Bytes of a file; 0 if it cannot be reached."""
    found = status(path)
    return found.st_size if found else 0


def is_occupied(path: PathLike) -> bool:
    """Whether the name is taken, be it by a link that leads nowhere."""
    return os.path.lexists(path)


def is_link(path: PathLike) -> bool:
    """Whether it is a symbolic link."""
    return os.path.islink(path)  # noqa: PTH114 (never raises)


def entries(folder: PathLike) -> list[Path]:
    """What lies in a folder, by name; nothing if it cannot be listed."""
    try:
        return sorted(Path(folder).iterdir())
    except (OSError, ValueError):
        return []


def is_used(path: PathLike) -> bool:
    """Whether something would be in the way there: a file, or a folder that is not empty or cannot be listed."""
    if not is_folder(path):
        return is_occupied(path)
    try:
        with os.scandir(path) as listed:
            return any(True for _ in listed)
    except OSError:
        return True


def resolved(path: PathLike) -> Path:
    """The absolute path without links, as far as they can be followed."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError, RuntimeError):
        return Path(os.path.abspath(path))  # noqa: PTH100 (works on the text alone)


def is_same(one: PathLike, other: PathLike) -> bool:
    """Whether two paths lead, or would lead, to the same file or folder."""
    found, others = status(one), status(other)
    if found and others and os.path.samestat(found, others):
        return True
    return os.path.normcase(resolved(one)) == os.path.normcase(resolved(other))


def lies_in(path: PathLike, folder: PathLike) -> bool:
    """Whether a path is a folder's own, or leads below it."""
    return any(is_same(above, folder) for above in (resolved(path), *resolved(path).parents))


def obstacle(path: PathLike) -> str:
    """Why the system cannot reach a path, in a few words; empty if it can, or if nothing is there."""
    try:
        os.stat(path)  # noqa: PTH116
    except OSError as error:
        return "" if error.errno in _ABSENT else (error.strerror or type(error).__name__).lower()
    except ValueError:
        return "the name holds a zero byte"
    return ""


def require_nameable(path: PathLike) -> None:
    """Raise `InputError` if no file or folder can have this path. That nothing is there is no fault."""
    detail = obstacle(path)
    if detail:
        raise InputError("output_unwritable", path=path, detail=detail)


def require_there(path: PathLike) -> os.stat_result:
    """What the system says of a file or folder.

    Raises
    ------
    InputError
        Nothing is there, or it cannot be reached.
    """
    found = status(path)
    if found is None:
        detail = obstacle(path)
        if detail:
            raise InputError("path_unreachable", path=path, detail=detail)
        raise InputError("file_missing", path=path)
    return found


def require_file(path: PathLike) -> os.stat_result:
    """As `require_there`, of a regular file.

    Raises
    ------
    InputError
        Nothing is there, it cannot be reached, or it is a folder, a pipe or a device.
    """
    found = require_there(path)
    if S_ISDIR(found.st_mode):
        raise InputError("file_is_folder", path=path)
    if not S_ISREG(found.st_mode):
        raise InputError("file_not_regular", path=path)
    return found
