"""`task train`: trains a model on the examples of a task, here or on a dask cluster."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

from ..core.errors import Message
from ..core.exit_codes import ExitCode
from ..core.job import Device
from ..core.text import printable
from ..datasets.task.library import task_folder
from ..datasets.task.models import TaskModel, task_models
from ..datasets.task.task import Task, read_task
from ..datasets.task.training import DEFAULT_SECONDS, TrainingRequest, require_trainable, train_task
from ..engines.base import RunContext, Stopped
from .arguments import add_device, add_progress, parse_time_limit
from .labels import print_note
from .messages import error_text
from .progress import Bar, Column, Display, open_display
from .task_actions import add_task_name

_STOPPED = "training stopped; the same command continues it."
# Loss of mean expected Dice that is told: smaller ones are usual between two trainings.
_NOTABLE_LOSS = 0.01


@dataclass(frozen=True)
class _Step:
    """How far training is, or a warning."""

    fraction: float
    warning: Message | None = None


def add_train_arguments(train: argparse.ArgumentParser) -> None:
    """Add the arguments of the action."""
    train.set_defaults(command=_train)
    add_task_name(train)
    train.add_argument(
        "--budget",
        metavar="SECONDS",
        help=f"time limit, in seconds; more time gives a better model (default: {DEFAULT_SECONDS:.0f})",
    )
    add_device(train)
    train.add_argument("--from-scratch", action="store_true", help="do not start from the newest model of the task")
    train.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="train on a worker of this dask scheduler, which sees the folder of the task under the same path",
    )
    add_progress(train)


def _train(options: argparse.Namespace) -> int:
    folder = task_folder(options.name)
    task = read_task(folder)
    require_trainable(task)
    request = TrainingRequest(
        task=folder,
        seconds=parse_time_limit(options.budget) or DEFAULT_SECONDS,
        device=Device(options.device),
        warm=not options.from_scratch,
    )
    try:
        with open_display(options.progress, _DISPLAY) as report:
            if options.scheduler is None:
                context = RunContext(
                    on_progress=lambda fraction: report(_Step(fraction)),
                    warn=lambda message: report(_Step(0.0, message)),
                )
                model = train_task(request, context)
            else:
                from ..datasets.cluster_training import train_on_cluster

                model = train_on_cluster(request, options.scheduler, lambda: report(_Step(0.0)))
    except (KeyboardInterrupt, Stopped):
        print(f"fewshot-annotate: {_STOPPED}", file=sys.stderr)
        return ExitCode.CANCELLED
    if options.progress != "json":
        _print_report(model, options.name)
    return ExitCode.DONE


def _print_report(model: TaskModel, name: str) -> None:
    assert model.report is not None
    report = model.report
    print(
        f"{printable(name)}: model {model.number}, {report.examples} examples of {report.patients} patients, "
        f"{report.steps} steps in {report.seconds:.0f} s"
    )
    task = read_task(model.folder.parent.parent)
    print_expected_dice(model, task)
    if not report.expected_dice:
        print("  No expected Dice: it takes examples of at least two patients.")
    _note_lower_dice(model, task)


def _note_lower_dice(model: TaskModel, task: Task) -> None:
    """Say so if a new model is expected to be clearly less accurate than the one before."""
    dice_by_model = {
        other.number: other.report.mean_expected_dice
        for other in task_models(task)
        if other.report is not None and other.fits(task)
    }
    dice = dice_by_model.pop(model.number, None)
    if dice is None or not dice_by_model:
        return
    number, before = list(dice_by_model.items())[-1]
    if before is not None and dice < before - _NOTABLE_LOSS:
        print_note(
            f"fills use this model from now on. Its mean expected Dice is {dice:.3f}, that of model {number} was "
            f"{before:.3f}; a longer --budget gives a better model."
        )


def print_expected_dice(model: TaskModel, task: Task) -> None:
    """Print the Dice that is expected of each segment on a patient the model was not trained on."""
    for name, dice in model.expected(task):
        interval = f"90 % interval {dice.low:.3f} to {dice.high:.3f}"
        print(f"  Expected Dice {printable(name):<14} {dice.dice:.3f}  ({interval})")


def _show(bar: Bar, step: _Step) -> None:
    if step.warning is not None:
        bar.print(error_text(step.warning))
    else:
        bar.update("Training", step.fraction, 1.0 if step.fraction else None)


def _print_warning(step: _Step) -> None:
    if step.warning is not None:
        print(f"fewshot-annotate: {error_text(step.warning)}", file=sys.stderr)


def _line(step: _Step) -> str:
    if step.warning is not None:
        return json.dumps({"event": "warning", "text": error_text(step.warning)})
    return json.dumps({"event": "training", "fraction": round(step.fraction, 4)})


_DISPLAY = Display[_Step](columns=(Column.ELAPSED, Column.REMAINING), show=_show, line_of=_line, quiet=_print_warning)
