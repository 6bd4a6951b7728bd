r"""Robust standard streams: unprintable characters are escaped, and encoding or write errors do not end the program.

Names of files and segments are untrusted. Characters that cannot be encoded or printed are shown as `\\x1b`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from ..core.numbers import int_or_none
from ..core.text import printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH = 200
_HEIGHT = 50  # not used, but without it rich parses the environment variable LINES, which may hold anything
_MAX_WIDTH = 10_000


class StdoutError(Exception):
    """Writing to stdout failed; `detail` says why."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class SafeStream(io.TextIOBase):
    """A text stream that escapes what it cannot print or encode.

    Parameters
    ----------
    stream : text stream
    lossy : bool
        Whether write errors are ignored, as for stderr.
    """

    def __init__(self, stream: TextIO, lossy: bool) -> None:
        super().__init__()
        self.stream = stream
        self._lossy = lossy

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the underlying stream."""
        return self.stream.encoding or "utf-8"

    def fileno(self) -> int:
        """The file descriptor of the stream."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self.stream.isatty()

    def writable(self) -> bool:
        """Always True: it is an output stream."""
        return True

    def write(self, text: str) -> int:
        """Write text; returns its number of characters."""
        self._write(printable_lines(text))
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered."""
        with self._failing():
            self.stream.flush()

    def close(self) -> None:
        """Do nothing: the underlying stream belongs to the caller."""

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
                raise StdoutError(getattr(error, "strerror", None) or "it is closed") from None


class TerminalStream(SafeStream):
    """Stream for progress bars on stderr, which does not escape control characters."""

    def write(self, text: str) -> int:
        """Write text; returns its number of characters."""
        self._write(text)
        return len(text)


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Context manager: replace stdout and stderr by safe streams, also if the program was started without them."""
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


def discard_stdout() -> None:
    """Redirect stdout to the null device, so that flushing it at exit does not fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def text_table(*headers: str, **options: Any) -> Table:
    """An empty table, whose cells are wrapped where they do not fit, never cut; options as of rich's."""
    from rich.table import Column, Table

    return Table(*(Column(header, overflow="fold") for header in headers), **options)


def table_console() -> Console:
    """Console for tables on stdout, as plain text."""
    from rich.console import Console

    width = _width() if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(width=width, height=_HEIGHT, color_system=None, highlight=False, markup=False, emoji=False)


def bar_stream() -> TerminalStream:
    """Stream for progress bars on stderr."""
    return TerminalStream(sys.stderr.stream if isinstance(sys.stderr, SafeStream) else sys.stderr, lossy=True)


def bar_console() -> Console:
    """Console for progress bars on stderr."""
    from rich.console import Console

    return Console(
        file=cast(IO[str], bar_stream()), width=_width(), height=_HEIGHT, highlight=False, markup=False, emoji=False
    )


def case_count(count: int) -> str:
    """A number of cases in words."""
    return "1 case" if count == 1 else f"{count} cases"


def _width() -> int | None:
    """Width for rich where it cannot use what COLUMNS says; None leaves it to rich, which follows the terminal."""
    text = os.environ.get("COLUMNS", "")
    return None if not text or 0 < (int_or_none(text) or 0) <= _MAX_WIDTH else _WIDTH


def _occupy_standard_descriptors() -> None:
    """Open closed descriptors 0 to 2, or the next files opened would get them and libraries would print into them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
