"""Temporary files and folders with random names, private to the user and removed even after a crash.

The process that makes one holds a system lock on it, which ends with the process. What is not locked was left by a
crashed process and is removed the next time a temporary file is made. Without such locks (Windows, some network
drives), its age decides.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from .errors import Message
from .locks import lock_descriptor
from .signals import defer_signals

# Hidden file beside the file to write; short, so that its name fits wherever a long file name does.
HIDDEN_PREFIX = ".fsa-"
FOLDER_PREFIX = "fewshot-annotate-"
# Digits after the prefix. Names of another form are never removed: they may be a user's own files.
_HIDDEN_DIGITS, _FOLDER_DIGITS = 8, 16
_NAME_PATTERN = re.compile(
    rf"{re.escape(HIDDEN_PREFIX)}[0-9a-f]{{{_HIDDEN_DIGITS}}}(\..*)?|"
    rf"{re.escape(FOLDER_PREFIX)}[0-9a-f]{{{_FOLDER_DIGITS}}}",
    re.DOTALL,
)
_ATTEMPTS = 100
_ABANDONED_SECONDS = 24 * 3600.0
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class TemporaryFile:
    """A new empty file with a random name, locked by this process.

    Parameters
    ----------
    folder : Path
    suffix : str
        File name suffix, by which writers choose the format.

    Attributes
    ----------
    path : Path
        Only this user can read the file until `rename`.

    Raises
    ------
    OSError
        It cannot be created.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        remove_abandoned(folder, HIDDEN_PREFIX)
        with defer_signals():
            self._make(folder, suffix)

    def _make(self, folder: Path, suffix: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY
        for _ in range(_ATTEMPTS):
            self.path = folder / f"{HIDDEN_PREFIX}{_digits(_HIDDEN_DIGITS)}{suffix}"
            with contextlib.suppress(FileExistsError):
                self._descriptor = os.open(self.path, flags, 0o666)
                if _acquire(self._descriptor, self.path):
                    break
                os.close(self._descriptor)
        else:
            raise FileExistsError(errno.EEXIST, Message("no_name_free"), str(folder))
        self._open = True
        _OPEN[self] = os.getpid()
        self._mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        with contextlib.suppress(OSError):  # a file system without permissions
            self.path.chmod(0o600)

    def open(self) -> IO[bytes]:
        """Open the file for writing by its descriptor, even if another file has its name now."""
        return os.fdopen(os.dup(self._descriptor), "wb", buffering=0)

    def sync(self) -> None:
        """Flush what was written to the disk (fsync).

        Raises
        ------
        OSError
            The disk is full, or another program replaced the file.
        """
        os.fsync(self._descriptor)
        if not os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
            raise FileExistsError(errno.EEXIST, Message("replaced_by_another_program"), str(self.path))

    def rename(self, path: Path) -> None:
        """Rename the file, replacing any file of that name, and give it default permissions.

        Raises
        ------
        OSError
            The file cannot be renamed.
        """
        with contextlib.suppress(OSError):  # a file system without permissions
            self.path.chmod(self._mode)
        if os.name == "nt":  # where an open file cannot be renamed
            self._release()
        self.path.replace(path)

    def close(self) -> None:
        """Close the file, and remove it if it was not renamed."""
        with defer_signals():
            self._release()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            _OPEN.pop(self, None)

    def _release(self) -> None:
        if self._open:
            os.close(self._descriptor)
        self._open = False


class TemporaryFolder:
    """A new folder private to this user, removed with its content when closed. Also a context manager.

    Parameters
    ----------
    parent_folder : Path, optional
        Folder in which it is hidden; default: `system_folder`.

    Attributes
    ----------
    path : Path

    Raises
    ------
    OSError
        It cannot be created.
    """

    def __init__(self, parent_folder: Path | None = None) -> None:
        prefix, digits = (FOLDER_PREFIX, _FOLDER_DIGITS) if parent_folder is None else (HIDDEN_PREFIX, _HIDDEN_DIGITS)
        parent = system_folder() if parent_folder is None else parent_folder
        remove_abandoned(parent, prefix)
        with defer_signals():
            self._make(parent, prefix, digits)

    def _make(self, parent: Path, prefix: str, digits: int) -> None:
        for _ in range(_ATTEMPTS):
            self.path = parent / f"{prefix}{_digits(digits)}"
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(0o700)
                with contextlib.suppress(OSError):  # a file system without permissions
                    self.path.chmod(0o700)  # independent of the umask
                try:
                    self._lock = open_folder(self.path)
                except FileNotFoundError:  # another process removed it as abandoned, as it was not locked yet
                    continue
                except OSError:  # too many files are open
                    self.path.rmdir()
                    raise
                if self._lock is None or _acquire(self._lock, self.path):
                    _OPEN[self] = os.getpid()
                    return
                os.close(self._lock)
        raise FileExistsError(errno.EEXIST, Message("no_name_free"), str(parent))

    def close(self) -> None:
        """Remove the folder."""
        with defer_signals():
            lock, self._lock = self._lock, None
            if lock is not None:
                with contextlib.suppress(OSError):  # a program that ends may have closed it already
                    os.close(lock)
            _remove_folder(self.path)
            _OPEN.pop(self, None)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def system_folder() -> Path:
    """The system's folder for temporary files.

    Raises
    ------
    OSError
        No such folder can be written, or libraries in C cannot open files there. `strerror` can be shown to users.
    """
    try:
        with defer_signals():  # `gettempdir` writes a file to test the folder
            folder = tempfile.gettempdir()
    except FileNotFoundError:
        raise OSError(errno.ENOSPC, Message("no_temporary_folder")) from None
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, Message("name_not_unicode"), folder) from None
    return Path(folder)


def remove_abandoned_folders() -> None:
    """Remove what crashed processes of this user left in the system's folder for temporary files."""
    with contextlib.suppress(OSError):
        remove_abandoned(system_folder())


def temporary_name(folder: Path) -> Path:
    """An unused random name in a folder, of a file that is removed later if this process crashes."""
    return folder / f"{HIDDEN_PREFIX}{_digits(_HIDDEN_DIGITS)}"


def _digits(count: int) -> str:
    """Random hexadecimal digits."""
    return secrets.token_hex(count // 2)


# Not yet closed in this process; a signal may arrive between creation and the block that closes them.
_OPEN: dict[TemporaryFile | TemporaryFolder, int] = {}


@atexit.register
def _close_own() -> None:
    for temporary, process in list(_OPEN.items()):
        if process == os.getpid():  # a forked child must not remove what its parent still uses
            temporary.close()


def remove_abandoned(folder: Path, prefix: str = FOLDER_PREFIX) -> None:
    """Remove temporary files and folders that crashed processes of this user left in a folder."""
    try:
        with os.scandir(folder) as listed:
            entries = [
                entry for entry in listed if entry.name.startswith(prefix) and _NAME_PATTERN.fullmatch(entry.name)
            ]
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            _remove_if_abandoned(Path(entry.path), entry.stat(follow_symlinks=False))


def remove_path(path: Path) -> None:
    """Remove a folder with all its content, or a link, file or pipe of this name; errors are ignored."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            _remove_folder(path)
        else:
            path.unlink()


def _remove_folder(path: Path) -> None:
    """Remove a folder with all its content; errors are ignored."""
    shutil.rmtree(path, ignore_errors=True)
    if path.is_symlink() or not path.exists():
        return
    # `rmtree` keeps one file open per folder level, and the limit of open files may be reached; here one is enough.
    for folder, folders, files in os.walk(path, topdown=False):
        for names, remove in ((files, os.unlink), (folders, os.rmdir)):
            for name in names:
                with contextlib.suppress(OSError):
                    remove(os.path.join(folder, name))  # noqa: PTH118
    with contextlib.suppress(OSError):
        path.rmdir()


def _remove_if_abandoned(path: Path, about: os.stat_result) -> None:
    is_folder = stat.S_ISDIR(about.st_mode)
    if not (is_folder or stat.S_ISREG(about.st_mode)) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
        return
    lock = open_folder(path) if is_folder else os.open(path, os.O_RDWR | _NO_FOLLOW | _BINARY)
    try:
        if _is_abandoned(lock, about):
            remove_path(path)
    finally:
        if lock is not None:
            os.close(lock)


def _is_abandoned(lock: int | None, about: os.stat_result) -> bool:
    """Whether no process holds the lock; without lock support, whether the file is old."""
    acquired = lock_descriptor(lock) if lock is not None and os.name != "nt" else None
    return acquired if acquired is not None else time.time() - about.st_mtime > _ABANDONED_SECONDS


def _acquire(lock: int, path: Path) -> bool:
    """Lock a new file or folder; False if another process took it for abandoned and locked it first."""
    if os.name == "nt":
        return True
    acquired = lock_descriptor(lock)
    if acquired is None:  # no locks here
        return True
    return acquired and path.exists() and os.path.samestat(os.fstat(lock), path.lstat())


def open_folder(path: Path) -> int | None:
    """File descriptor of a folder; None on Windows, which has none."""
    if os.name == "nt":
        return None
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_FOLLOW)
