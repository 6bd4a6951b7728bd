"""Progress output of commands: a progress bar on stderr, JSON lines on stdout, or nothing but warnings.

Where stderr is no terminal, plain lines take the place of the bar.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from ..core.events import Event, Progress, Started, Warned
from . import activity_indicator
from .messages import error_text
from .terminal import bar_console

Step = TypeVar("Step")


class Column(Enum):
    """Columns after a progress bar; values are names of classes of rich, which is imported with the first bar."""

    ELAPSED = "TimeElapsedColumn"
    REMAINING = "TimeRemainingColumn"
    DOWNLOADED = "DownloadColumn"
    SPEED = "TransferSpeedColumn"


class Bar(Protocol):
    """What shows how far a command is."""

    def update(self, description: str, completed: float, total: float | None, **fields: Any) -> None:
        """Show how much of the total is completed."""

    def print(self, line: str) -> None:
        """Print a line of its own."""

    def start(self) -> None:
        """Begin, unless that was done already."""

    def stop(self) -> None:
        """End."""


# A log gets a line at least this often, as long as the work goes on.
LINE_SECONDS = 60.0


class ProgressLines:
    """Progress as plain lines on stderr, for logs: one for each stage, each tenth of the work and each minute.

    Parameters
    ----------
    delay : float
        Seconds of work for which nothing is printed.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self._start_time = time.monotonic()
        self._delay = delay
        self._stage = ""
        self._tenths = -1
        self._printed_seconds = 0.0

    def update(self, description: str, completed: float, total: float | None, **fields: Any) -> None:
        """Print a line at a new stage or tenth, or if the last one was printed a minute ago."""
        tenths = int(10 * completed / total) if total else 0
        seconds = time.monotonic() - self._start_time
        is_due = seconds - self._printed_seconds >= LINE_SECONDS
        if seconds < self._delay or (description == self._stage and tenths <= self._tenths and not is_due):
            return
        self._stage, self._tenths, self._printed_seconds = description, tenths, seconds
        share = f" {100 * completed / total:.0f} %" if total else ""
        details = [text for text in map(str, fields.values()) if text]
        self.print(f"{description}{share} ({', '.join([f'{seconds:.0f} s', *details])})")

    def print(self, line: str) -> None:
        """Print a line."""
        print(line, file=sys.stderr, flush=True)

    def start(self) -> None:
        """Do nothing: a line needs no beginning."""

    def stop(self) -> None:
        """Do nothing: a line needs no end."""


class ProgressBar:
    """A progress bar on stderr.

    Parameters
    ----------
    *columns : columns, or format strings of them
        What stands behind the bar; `{task.fields[NAME]}` is a field given to `update`.
    """

    def __init__(self, *columns: Column | str) -> None:
        from rich import progress as rich

        behind = [
            rich.TextColumn(column) if isinstance(column, str) else getattr(rich, column.value)()
            for column in columns
        ]
        self._bar = rich.Progress(
            rich.TextColumn("{task.description}"), rich.BarColumn(), *behind, console=bar_console()
        )
        self._task = self._bar.add_task("", total=None, visible=False)

    def update(self, description: str, completed: float, total: float | None, **fields: Any) -> None:
        """Show how much of the total is completed; without a total the bar only moves."""
        self._bar.update(
            self._task, description=description, completed=completed, total=total, visible=True, **fields
        )

    def print(self, line: str) -> None:
        """Print a line above the bar, not wrapped, so that it is the same in a log and on a terminal."""
        self._bar.console.print(line, soft_wrap=True)

    def start(self) -> None:
        """Show the bar, unless it is shown already."""
        self._bar.start()

    def stop(self) -> None:
        """Leave the bar as it is; nothing is printed if it was never shown."""
        if self._bar.live.is_started:
            self._bar.stop()


@dataclass(frozen=True, kw_only=True)
class Display(Generic[Step]):
    """How the steps of a command are shown.

    Attributes
    ----------
    columns : sequence of columns
        As of `ProgressBar`.
    show : function
        Takes the bar and a step, and updates the bar.
    line_of : function
        A step as a line of JSON.
    quiet : function
        Called with each step if no progress is shown.
    silent_if_quick : bool
        Whether a log gets no lines of what takes less than the delay of the activity indicator.
    """

    columns: Sequence[Column | str]
    show: Callable[[Bar, Step], None]
    line_of: Callable[[Step], str]
    quiet: Callable[[Step], None] = lambda step: None
    silent_if_quick: bool = False


@contextmanager
def open_display(kind: str, display: Display[Step]) -> Iterator[Callable[[Step], None]]:
    """Context manager: a function that shows a step.

    Parameters
    ----------
    kind : 'bar' (on stderr), 'json' (on stdout, a line for each step) or 'none'
    display : Display
    """
    if kind == "json":
        yield lambda step: print(display.line_of(step), flush=True)
    elif kind == "none":
        yield display.quiet
    else:
        delay, began = activity_indicator.DELAY_SECONDS if display.silent_if_quick else 0.0, time.monotonic()
        bar: Bar = ProgressBar(*display.columns) if sys.stderr.isatty() else ProgressLines(delay)
        waiting = activity_indicator.ActivityIndicator("Starting")

        def show(step: Step) -> None:
            if sys.stderr.isatty() or time.monotonic() - began >= delay:
                waiting.stop()
                activity_indicator.output_shown()
            bar.start()  # not before there is something to show, so that a refusal is a single line
            display.show(bar, step)

        try:
            yield show
        finally:
            waiting.stop()
            bar.stop()


def time_left(seconds: float | None) -> str:
    """The remaining time in words; empty if it is not known."""
    return "" if seconds is None else f"{seconds:.0f} s left"


def _show_event(bar: Bar, event: Event) -> None:
    if isinstance(event, Progress):
        slices = f"{event.done_in_stage}/{event.total} slices"
        bar.update(str(event.stage).capitalize(), event.fraction, 1.0, slices=slices, left=time_left(event.eta))
    elif isinstance(event, Warned):
        bar.print(error_text(event.content))
    elif isinstance(event, Started):
        bar.update("Filling", 0, None, slices="", left="")


def _print_warning(event: Event) -> None:
    if isinstance(event, Warned):
        print(f"fewshot-annotate: {error_text(event.content)}", file=sys.stderr)


RUN = Display[Event](
    columns=("{task.fields[slices]}", Column.ELAPSED, "{task.fields[left]}"),
    show=_show_event,
    line_of=Event.to_line,
    quiet=_print_warning,
)
