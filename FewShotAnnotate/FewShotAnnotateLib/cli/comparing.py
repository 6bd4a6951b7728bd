"""What comparisons of the command line share: the words that ask for one, its progress, and its ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ..comparison.clock import Step
from ..comparison.design import Wish
from ..comparison.recommend import duration
from ..comparison.trial import Contender, EngineFailed, Interrupted
from ..core.errors import InputError
from ..core.event import Progress
from ..core.job import Device
from ..core.numbers import parse_whole
from ..core.text import shown
from ..engines import engine_class, engine_names
from .arguments import as_count, as_engine_options, as_seconds, as_slice_numbers
from .terminal import bar_console

FAILED, CANCELLED = 1, 130
MAX_DRAWS = 100
MAX_SEED = 2**32 - 1


def as_wish(options: argparse.Namespace) -> Wish:
    sizes = tuple(as_slice_numbers(options.sizes) or ())
    draws = as_count(options.draws, "draws", MAX_DRAWS)
    seed = parse_whole(options.seed, "a seed", 0, MAX_SEED)
    return Wish(sizes, draws, as_count(options.held_out), seed)


def as_contenders(options: argparse.Namespace) -> list[Contender]:
    """The engines in the order given, none twice, each with its options."""
    asked = list(engine_names()) if options.engines == "all" else options.engines.split(",")
    names = list(dict.fromkeys(engine_class(name.strip()).name for name in asked))
    settings: dict[str, list[str]] = {name: [] for name in names}
    for text in options.settings:
        engine, separator, setting = text.partition(".")
        if not separator:
            raise InputError("engine_option_malformed", text=text)
        if engine not in settings:
            raise InputError("engine_not_compared", engine=engine, compared=", ".join(names))
        settings[engine].append(setting)
    budget, device = as_seconds(options.budget), Device(options.device)
    return [Contender(name, as_engine_options(name, settings[name]), device, budget) for name in names]


@contextmanager
def ending(folder: Path) -> Iterator[list[int]]:
    """Turns what ends a comparison early into one line and an exit code."""
    code: list[int] = []
    try:
        yield code
    except (Interrupted, KeyboardInterrupt):
        print(
            f"fewshot-annotate: cancelled. Finished trials are kept in {shown(folder)}; go on with --resume.",
            file=sys.stderr,
        )
        code.append(CANCELLED)
    except EngineFailed as failure:
        print(f"fewshot-annotate: no engine finished. {shown(failure)}", file=sys.stderr)
        code.append(FAILED)


@contextmanager
def open_reporter(kind: str) -> Iterator[Callable[[Step], None]]:
    """Shows steps as a bar on stderr, as progress events of the trials on stdout, or not at all."""
    if kind == "none":
        yield lambda step: None
    elif kind == "json":
        yield lambda step: print(
            Progress(step.done, step.total, step.eta, round(step.fraction, 4)).to_line(), flush=True
        )
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[trials]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        bar = Bar(*columns, console=bar_console())
        task = bar.add_task("Comparing", total=1.0, trials="", left="")

        def show(step: Step) -> None:
            bar.start()  # not before there is something to show
            left = "" if step.eta is None else f"{duration(step.eta)} left"
            doing = f"{step.engine} from {slices(step.size)}"
            trials = f"trial {step.done + 1} of {step.total}"
            bar.update(task, completed=step.fraction, description=doing, trials=trials, left=left)

        try:
            yield show
        finally:
            if bar.live.is_started:
                bar.stop()


def slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"
