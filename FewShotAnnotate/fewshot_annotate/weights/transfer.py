"""Transfer of one file from an untrusted HTTP server, with the library of the Hugging Face Hub.

The library lets the server decide how long an error page is, how long to wait before the next attempt, and which part
of a file is sent. This module limits that: error pages are not read, responses have a maximum size and a minimum
speed, and a part must start at the requested offset.
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

from ..core.errors import Message

# Takes the number of received bytes and the size of the file, None if the server does not state it.
Progress = Callable[[int, int | None], None]

MIN_BYTES_PER_SECOND = 1000
# Length of the period in which the speed is measured.
SPEED_SECONDS = 60.0
# Limit of all received bytes, in sizes of the file, so that transfers are not restarted forever.
_MAX_REPEATS = 3
# Maximum size of the body of a redirect.
_MAX_REDIRECT_BYTES = 1 << 16
_ENCODINGS = ("", "identity", "gzip", "deflate")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_REQUESTED_RANGE = re.compile(r"bytes=(\d{1,18})-")


class TransferFailed(Exception):  # noqa: N818 (named for what happened)
    """A transfer failed, and can be resumed.

    Attributes
    ----------
    reason : Message or str
        A text is one of the operating system.
    """

    def __init__(self, reason: Message | str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotContinued(TransferFailed):
    """The server does not resume the transfer at the requested offset."""


class TooLong(Exception):  # noqa: N818 (named for what happened)
    """The server sends more bytes than the file has."""


def transfer(url: str, file: BinaryIO, offset: int, size: int | None, limit: int, progress: Progress) -> None:
    """Append the rest of a file to the part that exists already.

    Parameters
    ----------
    url : str
    file : binary file
        Open for writing, at its end.
    offset : int
        Number of bytes that exist already.
    size : int or None
        Size of the file in bytes, if known.
    limit : int
        Number of bytes after which the transfer is ended.
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
                resume_size=offset,
                expected_size=size,
                headers={"Accept-Encoding": "identity"},  # offsets are counted in bytes of the uncompressed file
                tqdm_class=meter,  # type: ignore[arg-type]
            )
    except BrokenPipeError:  # of the receiver of the progress
        raise
    except httpx2.TimeoutException:
        raise TransferFailed(Message("server_silent")) from None
    except httpx2.ConnectError:
        raise TransferFailed(Message("server_unreachable")) from None
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL, UnicodeError):
        raise TransferFailed(Message("server_redirects")) from None
    except OSError as error:
        raise TransferFailed(error.strerror or Message("connection_lost")) from None
    # Of the library that parses the answers, whose errors are not all of its own types.
    except (httpx2.HTTPError, httpx2.StreamError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise TransferFailed(Message("server_unintelligible")) from None


@contextmanager
def _watched(limit: int) -> Iterator[None]:
    """Context manager: check the responses that this thread receives, and limit their size."""
    from huggingface_hub.utils import get_session

    received = _Received(_MAX_REPEATS * limit + _MAX_REDIRECT_BYTES)
    thread = threading.get_ident()

    def check(response: Any) -> None:
        if threading.get_ident() != thread:
            return
        if response.has_redirect_location:  # its body is read before the redirect is followed
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
    """Raise `TransferFailed` unless a response contains the requested part of the file."""
    requested = _REQUESTED_RANGE.fullmatch(response.request.headers.get("Range", ""))
    status = response.status_code
    if requested is not None and status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise NotContinued(Message("server_answered", status=_named_status(status)))
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or (requested is None and status != HTTPStatus.OK):
        raise TransferFailed(Message("server_answered", status=_named_status(status)))
    encodings = response.headers.get("Content-Encoding", "").lower().split(",")
    if any(encoding.strip() not in _ENCODINGS for encoding in encodings) or len(encodings) > 1:
        raise TransferFailed(Message("server_compression"))
    if requested is not None and status == HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or match[1] != requested[1] or encodings != [""]:
            raise NotContinued(Message("server_other_part"))


class _Received:
    """Counts received bytes; raises `TransferFailed` if they are too many or arrive too slowly."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._since = time.monotonic()
        self._in_period = 0

    def add(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise TransferFailed(Message("server_sends_more"))
        self._in_period += count
        seconds = time.monotonic() - self._since
        if seconds > SPEED_SECONDS:
            if self._in_period < MIN_BYTES_PER_SECOND * seconds:
                raise TransferFailed(Message("server_slow"))
            self._since, self._in_period = time.monotonic(), 0


def _counted(stream: Any, add: Callable[[int], None]) -> Any:
    """A response stream that calls `add` with the number of received bytes."""
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
    """Context manager: suppress the library's log messages about retries."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _named_status(status: int) -> str:
    """An HTTP status code with its standard phrase, if it has one."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
