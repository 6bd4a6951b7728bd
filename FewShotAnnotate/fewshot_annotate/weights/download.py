"""Download of checkpoints, or import from a file. No other code uses the network, and this only on request.

Requests are made with the library of the Hugging Face Hub, which resumes interrupted transfers, both within a call
and in the next one. A file gets its final name only when it is complete and verified.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ..core import paths
from ..core.disk import unwritable_error
from ..core.errors import InputError, Message
from ..core.file_transaction import FileTransaction
from ..core.locks import open_locked
from ..core.reading import open_regular_file
from . import store
from .catalog import Checkpoint
from .loading import Model, require_loads
from .store import digests_of, folder, known_digests, partial_of, path_of, record_of, require_digests
from .transfer import NotContinued, Progress, TooLong, TransferFailed, transfer

_MEGABYTE = 1e6


def download(
    checkpoint: Checkpoint,
    licence_accepted: bool,
    model: Model | None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Download a checkpoint, resuming an interrupted transfer, and return its file.

    A verified file that exists already is not downloaded again.

    Parameters
    ----------
    checkpoint : Checkpoint
    licence_accepted : bool
        Whether the user agreed to its licence; needed if that is not permissive.
    model : Model or None
        Checks weights without a published checksum before theirs is recorded.
    progress : function
        Called with the number of received bytes and the size of the file.

    Raises
    ------
    InputError
        The licence was not accepted, the disk is full, the server does not answer or sends another file, or another
        process is downloading the checkpoint.
    """
    if not (checkpoint.permissive or licence_accepted):
        raise InputError("licence_not_accepted", name=checkpoint.name, licence=checkpoint.licence)
    if find_spec("huggingface_hub") is None:
        raise InputError("package_missing", package="huggingface_hub", install="huggingface_hub")
    path, partial = path_of(checkpoint), partial_of(checkpoint)
    with _exclusive(checkpoint), _writable():
        if not paths.is_plain_file(partial):
            partial.unlink(missing_ok=True)  # a link or a pipe, which is not written through
        if paths.is_file(path) and known_digests(checkpoint):
            require_digests(checkpoint, path)
            return path
        if not known_digests(checkpoint):
            # Without a checksum, it cannot be verified that the earlier part belongs to the same file as the rest.
            partial.unlink(missing_ok=True)
            _require_packages(model)
        _require_room(checkpoint, partial)
        _fetch(checkpoint, partial, progress)
        try:
            _accept(checkpoint, partial, model)
        except InputError as error:
            partial.unlink(missing_ok=True)
            if error.code == "output_unwritable":
                raise
            cause = error.with_data(path=checkpoint.file)
            raise InputError("download_wrong", url=checkpoint.url, name=checkpoint.name, detail=cause) from None
    return path


def import_file(checkpoint: Checkpoint, source: Path, model: Model | None) -> Path:
    """Copy a file that the user has into the store, and return the copy. `model` as for `download`.

    Raises
    ------
    InputError
        It is missing, differs from the published or recorded checksum, or the disk is full.
    """
    paths.require_file(source)
    with _exclusive(checkpoint):
        copy = folder() / f"{checkpoint.file}.copy"
        try:
            with _writable():
                copy.unlink(missing_ok=True)
                with open_regular_file(source) as content, copy.open("xb") as file:
                    shutil.copyfileobj(content, file)
                _accept(checkpoint, copy, model)
        except InputError as error:
            if error.code in ("output_unwritable", "package_missing"):
                raise
            cause = error.with_data(path=checkpoint.file)
            raise InputError("import_wrong", path=source, name=checkpoint.name, detail=cause) from None
        finally:
            with contextlib.suppress(OSError):
                copy.unlink(missing_ok=True)
    return path_of(checkpoint)


def remove(checkpoint: Checkpoint, with_checksum: bool = False) -> bool:
    """Delete a checkpoint's files; returns whether there were any.

    The recorded checksum is kept, to detect another file at the same URL; `with_checksum` deletes it too.
    """
    files = [path_of(checkpoint), partial_of(checkpoint), *([record_of(checkpoint)] if with_checksum else [])]
    existing = [path for path in files if paths.lexists(path)]
    with _writable():
        for path in existing:
            path.unlink()
    return bool(existing)


@contextmanager
def _writable() -> Iterator[None]:
    """Context manager: convert errors of the operating system to `InputError`."""
    try:
        yield
    except OSError as error:
        raise unwritable_error(error.filename or folder(), error) from None


def _accept(checkpoint: Checkpoint, path: Path, model: Model | None) -> None:
    """Verify a complete file and give it its final name; without a published checksum, its own is recorded."""
    require_digests(checkpoint, path)
    if not known_digests(checkpoint):
        _require_packages(model)
        require_loads(checkpoint, path, model)
    with FileTransaction() as files:
        if checkpoint.sha256 is None and not paths.is_file(record_of(checkpoint)):
            line = f"{digests_of(path, ['sha256'])['sha256']}  {checkpoint.file}\n"
            files.stream(record_of(checkpoint)).write(line.encode())
        files.move(path, path_of(checkpoint))


def _require_packages(model: Model | None) -> None:
    """Raise `InputError` if packages are missing without which the model cannot check its weights."""
    missing = model.missing_packages() if model is not None else ()
    if missing:
        raise InputError("package_missing", package=missing[0], install=" ".join(missing))


def _fetch(checkpoint: Checkpoint, partial: Path, progress: Progress) -> None:
    offset = paths.size(partial) if paths.is_file(partial) else 0
    if checkpoint.size is not None and offset > checkpoint.size:
        offset = 0
    limit = store.MAX_UNKNOWN_BYTES if checkpoint.size is None else checkpoint.size
    try:
        with partial.open("ab" if offset else "wb") as file:
            transfer(checkpoint.url, file, offset, checkpoint.size, limit, progress)
    except TooLong:
        partial.unlink(missing_ok=True)
        detail = Message("weights_longer", count=limit)
        raise InputError("download_wrong", url=checkpoint.url, name=checkpoint.name, detail=detail) from None
    except TransferFailed as error:
        if isinstance(error, NotContinued) and offset:
            partial.unlink()
            _fetch(checkpoint, partial, progress)
            return
        raise InputError("download_failed", url=checkpoint.url, detail=error.reason, name=checkpoint.name) from None


@contextmanager
def _exclusive(checkpoint: Checkpoint) -> Iterator[None]:
    """Context manager: lock the checkpoint's files against other processes."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        lock = open_locked(folder() / f"{checkpoint.file}.lock")
    except OSError as error:
        raise unwritable_error(folder(), error) from None
    if lock is None:
        raise InputError("download_busy", name=checkpoint.name)
    with lock:
        yield


def _require_room(checkpoint: Checkpoint, partial: Path) -> None:
    if checkpoint.size is None:
        return
    needed = checkpoint.size - (paths.size(partial) if paths.is_file(partial) else 0)
    free = shutil.disk_usage(folder()).free
    if free < needed:
        detail = Message("room_missing", needed=f"{needed / _MEGABYTE:.0f}", free=f"{free / _MEGABYTE:.0f}")
        raise InputError("output_unwritable", path=folder(), detail=detail)
