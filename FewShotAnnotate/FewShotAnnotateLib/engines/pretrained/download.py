"""Download: fetching checkpoints, or taking them in from a file; the only code that uses the network, when asked to.

The library of the Hugging Face hub does the requests: it is the one of the usual libraries that goes on where a
transfer broke off, within a call and in the next one. A file gets its name only when all of it is there and right.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from ...core import paths
from ...core.errors import InputError
from ...core.storage import write_text
from .first_use import require_loadable, require_right
from .weights import Checkpoint, digests_of, folder, known_digests, path_of, record_of, require_digests

# Takes the bytes that are there and those of the whole file, None if the server does not say.
Progress = Callable[[int, int | None], None]
_MEGABYTE = 1e6
# Of a file whose size nobody published; the largest known one has 1.5 GB.
MAX_UNKNOWN_BYTES = 8 << 30


def partial_of(checkpoint: Checkpoint) -> Path:
    """File that holds what is there of a transfer that did not end."""
    return folder() / f"{checkpoint.file}.partial"


def download(checkpoint: Checkpoint, licence_accepted: bool, progress: Progress = lambda done, total: None) -> Path:
    """Fetch a checkpoint, from where an earlier transfer broke off, and return its file.

    One that is here already and right is not fetched again.

    Parameters
    ----------
    checkpoint : Checkpoint
    licence_accepted : bool
        Whether the user agreed to its licence; needed where that is not permissive.
    progress : function

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
    with _exclusive(checkpoint):
        if paths.is_file(path) and known_digests(checkpoint):
            require_digests(checkpoint, path)
            return path
        if not known_digests(checkpoint):
            # Nothing could tell whether an earlier part and the rest are of the same file.
            partial.unlink(missing_ok=True)
            require_loadable(checkpoint)
        _require_room(checkpoint, partial)
        _fetch(checkpoint, partial, progress)
        try:
            _take(checkpoint, partial)
        except InputError as error:
            partial.unlink(missing_ok=True)
            if error.code == "output_unwritable":
                raise
            detail = str(error).removeprefix(f"{partial}: ")
            raise InputError("download_wrong", url=checkpoint.url, name=checkpoint.name, detail=detail) from None
    return path


def take_in(checkpoint: Checkpoint, source: Path) -> Path:
    """Copy a file that the user has to where engines look for it, and return that.

    Raises
    ------
    InputError
        It is not there, is not the checkpoint as published or first seen, or there is no room.
    """
    paths.require_file(source)
    with _exclusive(checkpoint):
        copy = folder() / f"{checkpoint.file}.copy"
        try:
            shutil.copyfile(source, copy)
            _take(checkpoint, copy)
        except OSError as error:
            raise InputError("output_unwritable", path=folder(), detail=error.strerror or error) from None
        except InputError as error:
            if error.code in ("output_unwritable", "package_missing"):
                raise
            detail = str(error).removeprefix(f"{copy}: ")
            raise InputError("import_wrong", path=source, name=checkpoint.name, detail=detail) from None
        finally:
            copy.unlink(missing_ok=True)
    return path_of(checkpoint)


def remove(checkpoint: Checkpoint, forget: bool = False) -> bool:
    """Delete a checkpoint's files and say whether there were any.

    Its recorded checksum stays, so that another file under the same address is noticed; `forget` deletes that too.
    """
    files = [path_of(checkpoint), partial_of(checkpoint), *([record_of(checkpoint)] if forget else [])]
    there = [path for path in files if paths.is_occupied(path)]
    for path in there:
        path.unlink()
    return bool(there)


def _take(checkpoint: Checkpoint, path: Path) -> None:
    """Give a whole file its name if it is the right one; the first of its kind is recorded."""
    require_digests(checkpoint, path)
    if not known_digests(checkpoint):
        require_loadable(checkpoint)
        require_right(checkpoint, path)
    if checkpoint.sha256 is None and not paths.is_file(record_of(checkpoint)):
        line = f"{digests_of(path, ['sha256'])['sha256']}  {checkpoint.file}\n"
        write_text(record_of(checkpoint), line)
    path.replace(path_of(checkpoint))


def _fetch(checkpoint: Checkpoint, partial: Path, progress: Progress) -> None:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    there = paths.size(partial) if paths.is_file(partial) else 0
    if checkpoint.size is not None and there > checkpoint.size:
        there = 0
    limit = MAX_UNKNOWN_BYTES if checkpoint.size is None else checkpoint.size
    try:
        with partial.open("ab" if there else "wb") as file, _quiet():
            http_get(
                checkpoint.url,
                file,
                resume_size=there,
                expected_size=checkpoint.size,
                tqdm_class=lambda total, initial, **_: _Meter(  # type: ignore[arg-type]
                    total, initial, progress, limit
                ),
            )
    except _TooLong:
        partial.unlink(missing_ok=True)
        detail = f"it is longer than {limit} bytes"
        raise InputError("download_wrong", url=checkpoint.url, name=checkpoint.name, detail=detail) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and there:
            partial.unlink()
            _fetch(checkpoint, partial, progress)
            return
        detail = f"the server answered {_named_status(status)}"
        raise InputError("download_failed", url=checkpoint.url, detail=detail, name=checkpoint.name) from None
    except httpx2.TimeoutException:
        detail = "the server stopped answering"
        raise InputError("download_failed", url=checkpoint.url, detail=detail, name=checkpoint.name) from None
    except (httpx2.HTTPError, OSError) as error:
        detail = str(error).splitlines()[0].rstrip(".") or type(error).__name__
        raise InputError("download_failed", url=checkpoint.url, detail=detail, name=checkpoint.name) from None


def _named_status(status: int) -> str:
    """A status of HTTP with its meaning, if the standard gives it one."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


class _TooLong(Exception):
    """More came than the file can hold."""


class _Meter:
    """What the library takes for a progress bar; it ends a transfer that has no end."""

    def __init__(self, total: int | None, initial: int, progress: Progress, limit: int) -> None:
        self._limit = limit
        self._total = total
        self._done = initial
        self._progress = progress
        progress(initial, total)

    def __enter__(self) -> _Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, count: int) -> None:
        self._done += count
        if self._done > self._limit:
            raise _TooLong
        self._progress(self._done, self._total)


@contextmanager
def _exclusive(checkpoint: Checkpoint) -> Iterator[None]:
    """No other process changes the checkpoint's files meanwhile."""
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise InputError("package_missing", package="filelock", install="filelock") from None
    lock = FileLock(folder() / f"{checkpoint.file}.lock", timeout=0)
    try:
        folder().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError("download_busy", name=checkpoint.name) from None
    except OSError as error:
        raise InputError("output_unwritable", path=folder(), detail=error.strerror or error) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """The library's own words about retries are not for users."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _require_room(checkpoint: Checkpoint, partial: Path) -> None:
    if checkpoint.size is None:
        return
    wanted = checkpoint.size - (paths.size(partial) if paths.is_file(partial) else 0)
    free = shutil.disk_usage(folder()).free
    if free < wanted:
        detail = f"{wanted / _MEGABYTE:.0f} MB are needed and {free / _MEGABYTE:.0f} MB are free"
        raise InputError("output_unwritable", path=folder(), detail=detail)
