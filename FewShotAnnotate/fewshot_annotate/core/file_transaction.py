"""Atomic writing of files: a file appears complete or not at all. Files that must not be lost are written this way.

A file is written under a random name in its folder, flushed to the disk, read back, and only then renamed. Until
then, an earlier file of that name is unchanged, even if the disk is full, the program crashes or power fails. Reading
back is needed because the writers of ITK do not detect a full disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .checked_stream import CheckedStream
from .disk import os_errors_as_unwritable, sync_file, sync_folder, unwritable_error
from .errors import InputError, Message
from .signals import defer_signals
from .temporary import FOLDER_PREFIX, HIDDEN_PREFIX, TemporaryFile, remove_path, temporary_name

_NOT_READ_BACK = Message("not_read_back")

# Returns whether a file contains what was written; may raise the errors of a reader of a damaged file.
Check = Callable[[Path], bool]

_written_count = 0


def files_written() -> int:
    """Number of files that this process has written so far, to tell whether a cancelled command left a result."""
    return _written_count


def count_written(path: Path) -> None:
    """Count a file or folder that was written, unless it lies in a temporary folder."""
    global _written_count
    _written_count += not any(name.startswith((HIDDEN_PREFIX, FOLDER_PREFIX)) for name in path.parts)


class FileTransaction:
    """Context manager that writes several files together: all of them, or none if anything fails.

    At the end of the block every file is read back; then all are renamed to their final names, in the order in which
    they were added. If the block raises or a file is not intact, all temporary files are removed.

    Raises
    ------
    InputError
        At the end of the block: a file cannot be written, or does not read back as it was written.
    """

    def __init__(self) -> None:
        self._changes: list[_NewFile | _MovedFile | _RemovedFile] = []
        self._new_files: list[_NewFile] = []

    def file(self, path: Path, suffix: str, check: Check) -> Path:
        """Add a file that a library writes by path, choosing the format by suffix.

        Parameters
        ----------
        path : Path
            Final path.
        suffix : str
            Suffix of the temporary name.
        check : callable
            Takes the temporary path; returns whether the file holds what was to be written.

        Returns
        -------
        Path
            Temporary path to write to.
        """
        return self._new(path, suffix, check).file.path

    def stream(self, path: Path) -> CheckedStream:
        """Add a file that is written sequentially, as a stream."""
        change = self._new(path, "", lambda temporary: stream.is_in(temporary))
        stream = CheckedStream(change.file.open())
        change.stream = stream
        return stream

    def move(self, source: Path, path: Path) -> None:
        """Add a file that exists elsewhere on the same disk and was checked there."""
        self._changes.append(_MovedFile(path, source))

    def remove(self, path: Path) -> None:
        """Remove a file at the end of the block, if it exists."""
        self._changes.append(_RemovedFile(path))

    def dry_run(self) -> None:
        """Check the files as at the end of the block, but then remove them instead of renaming them.

        Raises
        ------
        InputError
            As at the end of the block.
        """
        try:
            for new_file in self._new_files:
                new_file.close_stream()
            self._verify()
        finally:
            for new_file in self._new_files:
                new_file.close()
            self._changes.clear()
            self._new_files.clear()

    def _new(self, path: Path, suffix: str, check: Check) -> _NewFile:
        with os_errors_as_unwritable(path), defer_signals():
            new_file = _NewFile(path, TemporaryFile(path.parent, suffix), check)
            self._changes.append(new_file)
            self._new_files.append(new_file)
        return new_file

    def __enter__(self) -> FileTransaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            for new_file in self._new_files:
                new_file.close_stream()
            if isinstance(error, OSError):
                raise unwritable_error(self._changes[-1].path if self._changes else "the file", error) from None
            if kind is None:
                self._commit()
        finally:
            for new_file in self._new_files:
                new_file.close()

    def _verify(self) -> None:
        for change in self._changes:
            if isinstance(change, _NewFile | _MovedFile):
                change.verify()

    def _commit(self) -> None:
        self._verify()
        with defer_signals(), contextlib.ExitStack() as backups:
            earlier: list[tuple[Path, Path | None]] = []
            try:
                for change in self._changes:
                    if len(self._changes) > 1:
                        earlier.append((change.path, _backup(change.path, backups)))
                    with os_errors_as_unwritable(change.path):
                        change.commit()
                    count_written(change.path)
            except InputError:
                for path, backup in reversed(earlier):
                    _restore(path, backup)
                raise


def _backup(path: Path, backups: contextlib.ExitStack) -> Path | None:
    """Hard link to a file, removed with `backups`; `path` itself where links are not supported, None for no file."""
    if not os.path.lexists(path):
        return None
    backup = temporary_name(path.parent)
    try:
        os.link(path, backup, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a file system without hard links
        return path
    backups.callback(remove_path, backup)
    return backup


def _restore(path: Path, backup: Path | None) -> None:
    """Restore a file to its state before the transaction."""
    with contextlib.suppress(OSError):
        if backup is None:
            path.unlink(missing_ok=True)
        elif backup != path:
            backup.replace(path)


@dataclass
class _RemovedFile:
    """A file to be removed."""

    path: Path

    def commit(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass
class _MovedFile:
    """A complete file to be moved from elsewhere on the same disk."""

    path: Path
    source: Path

    def verify(self) -> None:
        with os_errors_as_unwritable(self.path):
            sync_file(self.source)

    def commit(self) -> None:
        self.source.replace(self.path)
        sync_folder(self.path.parent)


@dataclass
class _NewFile:
    """A file to be written under a temporary name and renamed."""

    path: Path
    file: TemporaryFile
    check: Check
    stream: CheckedStream | None = None

    def close_stream(self) -> None:
        if self.stream is not None:
            self.stream.close()

    def verify(self) -> None:
        with os_errors_as_unwritable(self.path):
            self.file.sync()
            intact = self.check(self.file.path)
        if not intact:
            raise InputError("output_unwritable", path=self.path, detail=_NOT_READ_BACK)

    def commit(self) -> None:
        self.file.rename(self.path)
        sync_folder(self.path.parent)

    def close(self) -> None:
        self.file.close()


@contextlib.contextmanager
def atomic_stream(path: Path) -> Iterator[CheckedStream]:
    """Write one file atomically as a stream; see `FileTransaction.stream`."""
    with FileTransaction() as files:
        yield files.stream(path)
