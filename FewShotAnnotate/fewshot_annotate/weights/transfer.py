"""Transfer of one file from an HTTP server that is not trusted, by the library of the Hugging Face hub.

The library leaves to the server how long an error page is, how long to wait before the next try, and which part of
a file is sent. That is bounded here: refusals are not read, no answer is endless, and a part begins where it should.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, BinaryIO

# Takes the bytes that are there and those of the whole file, None if the server does not say.
Progress = Callable[[int, int | None], None]

MIN_BYTES_PER_SECOND = 1000
# Length of the window in which the speed is measured.
SPEED_SECONDS = 60.0
# What may be received in all, in sizes of the file: transfers that begin again and again must end.
_MAX_REPEATS = 3
# Body of an answer that leads elsewhere.
_MAX_REDIRECT_BYTES = 1 << 16
_ENCODINGS = ("", "identity", "gzip", "deflate")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_ASKED_RANGE = re.compile(r"bytes=(\d{1,18})-")


class TransferFailed(Exception):  # noqa: N818 (named for what happened)
    """A transfer failed, for the reason given in the message; it can be resumed."""


class NotContinued(TransferFailed):
    """The server does not send the rest of the file."""


class TooLong(Exception):  # noqa: N818 (named for what happened)
    """More came than the file can hold."""


def transfer(url: str, file: BinaryIO, there: int, size: int | None, limit: int, progress: Progress) -> None:
    """Append the rest of a file to what is there of it.

    Parameters
    ----------
    url : str
    file : binary file
        Open for writing, at its end.
    there : int
        Bytes that are there.
    size : int or None
        Bytes of the whole file, if known.
    limit : int
        Bytes after which the transfer is ended.
    progress : function

    Raises
    ------
    NotContinued, TransferFailed, TooLong
    """
    import httpx2
    from huggingface_hub.file_download import http_get

    def meter(total: int | None, initial: int, **_: object) -> _Meter:
        return _Meter(total, initial, progress, limit)

    try:
        with _quiet(), _watched(limit):
            http_get(
                url,
                file,
                resume_size=there,
                expected_size=size,
                headers={"Accept-Encoding": "identity"},  # parts are counted in bytes of the file itself
                tqdm_class=meter,  # type: ignore[arg-type]
            )
    except BrokenPipeError:  # of the receiver of the progress
        raise
    except httpx2.TimeoutException:
        raise TransferFailed("the server stopped answering") from None
    except httpx2.ConnectError:
        raise TransferFailed("the server cannot be reached") from None
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL, UnicodeError):
        raise TransferFailed("the server leads to an address that cannot be used") from None
    except OSError as error:
        raise TransferFailed(error.strerror or "the connection broke off") from None
    except (httpx2.HTTPError, httpx2.StreamError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise TransferFailed("the connection broke off, or the answer cannot be understood") from None


@contextmanager
def _watched(limit: int) -> Iterator[None]:
    """Context manager: answers that this thread receives are checked, and end early where they have no end."""
    from huggingface_hub.utils import get_session

    received = _Received(_MAX_REPEATS * limit + _MAX_REDIRECT_BYTES)
    thread = threading.get_ident()

    def check(response: Any) -> None:
        if threading.get_ident() != thread:
            return
        if response.has_redirect_location:  # its body is read before the next address is asked
            response.stream = _counted(response.stream, _Received(_MAX_REDIRECT_BYTES).add)
            return
        _require_file(response)
        response.stream = _counted(response.stream, received.add)

    client = get_session()
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "response": [*hooks["response"], check]}
    try:
        yield
    finally:
        client.event_hooks = hooks


def _require_file(response: Any) -> None:
    """Raise `TransferFailed` unless an answer holds what was asked for."""
    asked = _ASKED_RANGE.fullmatch(response.request.headers.get("Range", ""))
    status = response.status_code
    if asked is not None and status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise NotContinued(f"the server answered {_named_status(status)}")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or (asked is None and status != HTTPStatus.OK):
        raise TransferFailed(f"the server answered {_named_status(status)}")
    encodings = response.headers.get("Content-Encoding", "").lower().split(",")
    if any(encoding.strip() not in _ENCODINGS for encoding in encodings) or len(encodings) > 1:
        raise TransferFailed("the file comes packed in an unknown way")
    if asked is not None and status == HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or match[1] != asked[1] or encodings != [""]:
            raise NotContinued("the server sent another part of the file than it was asked for")


class _Received:
    """Counts bytes as they come; raises `TransferFailed` if they are too many, or come too slowly."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._since = time.monotonic()
        self._in_window = 0

    def add(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise TransferFailed("the server sends without end")
        self._in_window += count
        seconds = time.monotonic() - self._since
        if seconds > SPEED_SECONDS:
            if self._in_window < MIN_BYTES_PER_SECOND * seconds:
                raise TransferFailed("the server sends next to nothing")
            self._since, self._in_window = time.monotonic(), 0


def _counted(stream: Any, add: Callable[[int], None]) -> Any:
    """A stream of an answer that counts what comes."""
    import httpx2

    class Counted(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for chunk in stream:
                add(len(chunk))
                yield chunk

        def close(self) -> None:
            stream.close()

    return Counted()


class _Meter:
    """Progress bar for the library's interface; stops a transfer that exceeds its size."""

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
            raise TooLong
        self._progress(self._done, self._total)


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


def _named_status(status: int) -> str:
    """A status of HTTP with its meaning, if the standard gives it one."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
