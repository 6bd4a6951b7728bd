"""Download of checkpoints, or import from a file. The only code that uses the network, and only when asked to.

The library of the Hugging Face hub does the requests: it is the one of the usual libraries that goes on where a
transfer broke off, within a call and in the next one. A file gets its name only when all of it is there and right.
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
from ..core.errors import InputError
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
    """Fetch a checkpoint, from where an earlier transfer broke off, and return its file.

    One that is here already and right is not fetched again.

    Parameters
    ----------
    checkpoint : Checkpoint
    licence_accepted : bool
        Whether the user agreed to its licence; needed where that is not permissive.
    model : Model or None
        Checks weights without a published checksum before theirs is recorded.
    progress : function
        Called with the bytes that have arrived and those of the whole file.

    Raises
    ------
    InputError
        No agreement, no room, no answer, an answer that is not the file; or another process is fetching it.
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
            # It could not be checked whether an earlier part and the rest are of the same file.
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
        It is not there, is not the checkpoint as published or first seen, or there is no room.
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


def remove(checkpoint: Checkpoint, forget: bool = False) -> bool:
    """Delete a checkpoint's files and say whether there were any.

    Its recorded checksum stays, so that another file under the same address is noticed; `forget` deletes that too.
    """
    files = [path_of(checkpoint), partial_of(checkpoint), *([record_of(checkpoint)] if forget else [])]
    there = [path for path in files if paths.lexists(path)]
    with _writable():
        for path in there:
            path.unlink()
    return bool(there)


@contextmanager
def _writable() -> Iterator[None]:
    """Turns what the system raises into `InputError`."""
    try:
        yield
    except OSError as error:
        raise unwritable_error(error.filename or folder(), error) from None


def _accept(checkpoint: Checkpoint, path: Path, model: Model | None) -> None:
    """Give a complete file its name if it is the right one; the checksum of the first of its kind is recorded."""
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
    there = paths.size(partial) if paths.is_file(partial) else 0
    if checkpoint.size is not None and there > checkpoint.size:
        there = 0
    limit = store.MAX_UNKNOWN_BYTES if checkpoint.size is None else checkpoint.size
    try:
        with partial.open("ab" if there else "wb") as file:
            transfer(checkpoint.url, file, there, checkpoint.size, limit, progress)
    except TooLong:
        partial.unlink(missing_ok=True)
        detail = f"it is longer than {limit} bytes"
        raise InputError("download_wrong", url=checkpoint.url, name=checkpoint.name, detail=detail) from None
    except TransferFailed as error:
        if isinstance(error, NotContinued) and there:
            partial.unlink()
            _fetch(checkpoint, partial, progress)
            return
        raise InputError("download_failed", url=checkpoint.url, detail=str(error), name=checkpoint.name) from None


@contextmanager
def _exclusive(checkpoint: Checkpoint) -> Iterator[None]:
    """No other process changes the checkpoint's files meanwhile."""
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
    wanted = checkpoint.size - (paths.size(partial) if paths.is_file(partial) else 0)
    free = shutil.disk_usage(folder()).free
    if free < wanted:
        detail = f"{wanted / _MEGABYTE:.0f} MB are needed and {free / _MEGABYTE:.0f} MB are free"
        raise InputError("output_unwritable", path=folder(), detail=detail)
