"""The streams of the command line: whatever is printed, and wherever it goes, it does no harm and stops no work.

Names of files and segments come from others. What a stream cannot encode, and what is no text, is shown as `\\x1b`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, TextIO, cast

from rich.console import Console

from ..core.text import shown_lines

_WIDTH = 200


class OutputLost(Exception):
    """What was to be printed on stdout could not be; `detail` says why."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class SafeStream(io.TextIOBase):
    """A stream that takes any text.

    Parameters
    ----------
    stream : text stream
    lossy : bool
        Whether it does not matter if nothing arrives, as with stderr: there is nobody to tell.
    """

    def __init__(self, stream: TextIO, lossy: bool) -> None:
        super().__init__()
        self.stream = stream
        self._lossy = lossy

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As of the stream itself."""
        return self.stream.encoding or "utf-8"

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._write(shown_lines(text))
        return len(text)

    def flush(self) -> None:
        with self._failing():
            self.stream.flush()

    def _write(self, text: str) -> None:
        encodable = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        with self._failing():
            self.stream.write(encodable)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            if not self._lossy:
                raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            if not self._lossy:
                raise OutputLost(getattr(error, "strerror", None) or "it is closed") from None


class TerminalStream(SafeStream):
    """For progress bars on stderr, which move the cursor; nothing else is printed through it."""

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """stdout and stderr are safe for the time of the block, also where a program was started without them."""
    _occupy_standard_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    with contextlib.ExitStack() as opened:
        null = opened.enter_context(open(os.devnull, "r+", encoding="utf-8"))  # noqa: PTH123
        sys.stdin = before[0] or null
        sys.stdout = SafeStream(before[1] or null, lossy=False)
        sys.stderr = SafeStream(before[2] or null, lossy=True)
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def abandon_stdout() -> None:
    """Nothing more is written to stdout, so that the end of the program does not fail at it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def table_console() -> Console:
    """For tables on stdout: plain text, which other programs can read."""
    return Console(
        width=None if sys.stdout.isatty() else _WIDTH, color_system=None, highlight=False, markup=False, emoji=False
    )


def bar_console() -> Console:
    """For progress bars on stderr."""
    stream = sys.stderr.stream if isinstance(sys.stderr, SafeStream) else sys.stderr
    return Console(file=cast(IO[str], TerminalStream(stream, lossy=True)), highlight=False, markup=False, emoji=False)


def _occupy_standard_descriptors() -> None:
    """Descriptors 0 to 2 that were closed would be given to the files we write next, into which libraries print."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
