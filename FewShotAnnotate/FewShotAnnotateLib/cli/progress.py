"""How the command line shows a run: a bar for people, JSON lines for machines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ..core.event import Event, Finished, Progress, Warned
from ..core.text import shown
from ..run.legs import Leg, Whole
from .terminal import bar_console


@contextmanager
def open_reporter(kind: str) -> Iterator[Callable[[Event], None]]:
    """A function that shows events, for the time of one run.

    Parameters
    ----------
    kind : 'bar' (on stderr), 'json' (events on stdout, one a line) or 'none' (warnings only)
    """
    if kind == "json":
        yield lambda event: print(event.to_line(), flush=True)
    elif kind == "none":
        yield _warn
    else:
        yield from _bar()


def as_part_of(whole: Whole, leg: Leg, last: bool, report: Callable[[Event], None]) -> Callable[[Event], None]:
    """What the worker of a leg reports, told as a part of the whole: one count of slices, one end."""

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            event = whole.with_part(leg, event)
        if last or not isinstance(event, Finished):
            report(event)

    return tell


def _warn(event: Event) -> None:
    if isinstance(event, Warned):
        print(f"fewshot-annotate: {shown(event.message)}", file=sys.stderr)


def _bar() -> Iterator[Callable[[Event], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[slices]} slices"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=bar_console()) as bar:
        task = bar.add_task("Filling", total=None, slices="", left="")

        def show(event: Event) -> None:
            if isinstance(event, Progress):
                left = "" if event.eta is None else f"{event.eta:.0f} s left"
                slices = f"{event.counted}/{event.total}"
                doing = str(event.stage).capitalize()
                bar.update(task, completed=event.fraction, total=1.0, description=doing, slices=slices, left=left)
            elif isinstance(event, Warned):
                bar.console.print(shown(event.message))

        yield show
