"""Queries about paths that do not raise on unusual paths.

On a name of more than 255 bytes, a loop of links, a null byte or a folder without search permission, `pathlib` raises
OSError, ValueError or RuntimeError, depending on the version of Python. These functions never raise them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from .errors import InputError, Message

PathLike = str | os.PathLike[str]
_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR)


def stat(path: PathLike) -> os.stat_result | None:
    """`os.stat` of a file or folder, links followed; None if it cannot be accessed."""
    try:
        return os.stat(path)  # noqa: PTH116 (also for paths that pathlib cannot represent)
    except (OSError, ValueError):
        return None


def exists(path: PathLike) -> bool:
    """Whether a path is an accessible file or folder."""
    return stat(path) is not None


def is_folder(path: PathLike) -> bool:
    """Whether a path is an accessible folder."""
    status = stat(path)
    return status is not None and S_ISDIR(status.st_mode)


def is_file(path: PathLike) -> bool:
    """Whether a path is an accessible regular file: no folder, pipe or device."""
    status = stat(path)
    return status is not None and S_ISREG(status.st_mode)


def is_plain_file(path: PathLike) -> bool:
    """Whether a path is a regular file and not a link to one."""
    return is_file(path) and not is_link(path)


def size(path: PathLike) -> int:
    """Size of a file in bytes; 0 if it cannot be accessed."""
    status = stat(path)
    return status.st_size if status else 0


def lexists(path: PathLike) -> bool:
    """Whether a path exists, broken links included."""
    return os.path.lexists(path)


def is_link(path: PathLike) -> bool:
    """Whether a path is a symbolic link."""
    return os.path.islink(path)  # noqa: PTH114 (never raises)


def entries(folder: PathLike) -> list[Path]:
    """Entries of a folder, sorted by name; empty if it cannot be listed."""
    try:
        return sorted(Path(folder).iterdir())
    except (OSError, ValueError):
        return []


def would_be_overwritten(path: PathLike) -> bool:
    """Whether writing here could overwrite something: a file, or a folder not empty or not readable."""
    if not is_folder(path):
        return lexists(path)
    try:
        with os.scandir(path) as listed:
            return any(True for _ in listed)
    except OSError:
        return True


def resolve(path: PathLike) -> Path:
    """Absolute path with links resolved as far as possible; the path itself if the current folder is gone."""
    for absolute in (os.path.realpath, os.path.abspath):  # the second works on the text alone
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            return Path(absolute(path))
    return Path(path)


def is_same(path: PathLike, other: PathLike) -> bool:
    """Whether two paths denote the same file or folder, existing or not."""
    status, other_status = stat(path), stat(other)
    if status and other_status and os.path.samestat(status, other_status):
        return True
    return os.path.normcase(resolve(path)) == os.path.normcase(resolve(other))


def is_inside(path: PathLike, folder: PathLike) -> bool:
    """Whether a path is a folder or lies inside it."""
    return any(is_same(above, folder) for above in (resolve(path), *resolve(path).parents))


def access_error(path: PathLike) -> Message | str:
    """Why a path cannot be accessed, in a few words; empty if it can be, or if nothing exists there."""
    try:
        os.stat(path)  # noqa: PTH116
    except OSError as error:
        return "" if error.errno in _NOT_FOUND else (error.strerror or type(error).__name__).lower()
    except ValueError:
        return Message("name_holds_zero_byte")
    return ""


def require_nameable(path: PathLike) -> None:
    """Raise `InputError` if no file or folder can have this path; it need not exist."""
    detail = access_error(path)
    if detail:
        raise InputError("output_unwritable", path=path, detail=detail)


def require_existing(path: PathLike) -> os.stat_result:
    """`os.stat` of a file or folder that must exist.

    Raises
    ------
    InputError
        It does not exist or cannot be accessed.
    """
    status = stat(path)
    if status is None:
        detail = access_error(path)
        if detail:
            raise InputError("path_unreachable", path=path, detail=detail)
        raise InputError("file_missing", path=path)
    return status


def require_file(path: PathLike) -> os.stat_result:
    """`os.stat` of a regular file that must exist.

    Raises
    ------
    InputError
        It does not exist, cannot be accessed, or is a folder, a pipe or a device.
    """
    status = require_existing(path)
    if S_ISDIR(status.st_mode):
        raise InputError("file_is_folder", path=path)
    if not S_ISREG(status.st_mode):
        raise InputError("file_not_regular", path=path)
    return status
