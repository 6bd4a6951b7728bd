"""How the command line shows a run: a bar for people, JSON lines for machines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from .core.event import Event, Finished, Progress, Warned


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


def one_of_several(report: Callable[[Event], None], number: int, count: int) -> Callable[[Event], None]:
    """What run `number` of `count` reports, told as a part of the whole: one count of slices, one end."""

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            event = Progress(number * event.total + event.done, count * event.total, event.eta)
        if not (isinstance(event, Finished) and number + 1 < count):
            report(event)

    return tell


def _warn(event: Event) -> None:
    if isinstance(event, Warned):
        print(f"fewshot-annotate: {event.message}", file=sys.stderr)


def _bar() -> Iterator[Callable[[Event], None]]:
    columns = (
        TextColumn("Filling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("fill", total=None, left="")

        def show(event: Event) -> None:
            if isinstance(event, Progress):
                left = "" if event.eta is None else f"{event.eta:.0f} s left"
                bar.update(task, completed=event.done, total=event.total, left=left)
            elif isinstance(event, Warned):
                bar.console.print(event.message)

        yield show
