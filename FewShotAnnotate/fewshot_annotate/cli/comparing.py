"""Options, progress output and exit codes of `compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import InputError
from ..core.events import Progress
from ..core.exit_codes import ExitCode
from ..core.job import Device
from ..core.text import printable
from ..engines.registry import engine_class, engine_names
from ..evaluation.design import TrialDesign
from ..evaluation.recommendation import duration
from ..evaluation.time_estimate import ComparisonProgress
from ..evaluation.trials import EngineFailed, Interrupted
from ..jobs.planning import EngineSettings
from .arguments import parse_engine_options, parse_time_limit
from .messages import error_text
from .progress import Bar, Column, Display

# Processor time of a report after the last trial, on two cores; most of it is the start of the package that plots.
REPORT_SECONDS = 1.5


def parse_design(options: argparse.Namespace) -> TrialDesign:
    """The sizes, draws and seed of a comparison, as the options name them."""
    return TrialDesign.parse(options.sizes, options.draws, options.held_out, options.seed)


def parse_engine_settings(options: argparse.Namespace) -> list[EngineSettings]:
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
    budget, device = parse_time_limit(options.budget), Device(options.device)
    return [EngineSettings(name, parse_engine_options(name, settings[name]), device, budget) for name in names]


@contextmanager
def exit_code_of_comparison(folder: Path) -> Iterator[list[ExitCode]]:
    """Context manager: report an early end of a comparison and yield a list that receives the exit code."""
    code: list[ExitCode] = []
    try:
        yield code
    except (Interrupted, KeyboardInterrupt):
        print(
            f"fewshot-annotate: cancelled. Finished trials are kept in {printable(folder)}; continue with --resume.",
            file=sys.stderr,
        )
        code.append(ExitCode.CANCELLED)
    except EngineFailed as failure:
        print(f"fewshot-annotate: {error_text(failure.content)}", file=sys.stderr)
        code.append(ExitCode.FAILED)


def _seconds_left(step: ComparisonProgress) -> float | None:
    """Expected time until the report is written."""
    return None if step.eta is None else round(step.eta + REPORT_SECONDS, 1)


def _show(bar: Bar, step: ComparisonProgress) -> None:
    seconds = _seconds_left(step)
    left = "" if seconds is None else f"{duration(seconds)} left"
    doing = f"{step.engine} from {format_slices(step.size)}"
    bar.update(doing, step.fraction, 1.0, trials=f"trial {step.done + 1} of {step.total}", left=left)


COMPARISON = Display[ComparisonProgress](
    columns=("{task.fields[trials]}", Column.ELAPSED, "{task.fields[left]}"),
    show=_show,
    line_of=lambda step: Progress(
        done=step.done, total=step.total, eta=_seconds_left(step), fraction=round(step.fraction, 4)
    ).to_line(),
)


def format_slices(count: int) -> str:
    """A number of slices in words."""
    return "1 slice" if count == 1 else f"{count} slices"
