"""Training of the models of a task, one at a time; continued after an interruption."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core import paths
from ...core.disk import unwritable_error
from ...core.errors import InputError, Message
from ...core.job import Device
from ...core.locks import open_locked, share_lock
from ...core.temporary import remove_path
from ...engines.base import RunContext
from ...engines.registry import runnable_engine
from ...engines.specialist.model_file import is_loadable
from ...engines.threads import temporary_compile_cache
from .library import TRAINING_LOCK, task_lock
from .models import CANCEL_FILE, MODELS, TRAINING_FILE, TaskModel, TrainingRecord, newest_model, task_models
from .task import Task, read_task

_MAX_MODELS = 9999
DEFAULT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """A training to run; plain data, so that it can be sent to another process.

    Attributes
    ----------
    task : Path
        Folder of the task.
    seconds : float
        Time limit of the training over all runs that continue it.
    device : Device
    seed : int
    warm : bool
        Whether to start from the newest model, if its segments are those of the task.
    """

    task: Path
    seconds: float = DEFAULT_SECONDS
    device: Device = Device.AUTO
    seed: int = 0
    warm: bool = True


def train_task(request: TrainingRequest, context: RunContext = RunContext()) -> TaskModel:
    """Train a model on the examples of a task, or continue its interrupted training.

    Parameters
    ----------
    request : TrainingRequest
    context : RunContext
        Its progress, warnings and stop are used.

    Raises
    ------
    InputError
        A package is missing; no labelled examples; a segment that no example shows; a damaged example; another
        process trains the task; the folder cannot be written.
    Stopped
        The training was asked to stop; the next call continues it.
    """
    from ...engines.specialist.training import fit_specialist

    task = read_task(request.task)
    require_trainable(task)
    runnable_engine("specialist")
    with _exclusive(task), temporary_compile_cache():
        model, start = _open_or_create(task, request.warm, context)
        with _removed_if_refused(model):
            fit_specialist(
                task.training_examples(),
                len(task.segments),
                model.folder,
                budget_seconds=request.seconds,
                start=start,
                seed=request.seed,
                device=request.device,
                context=_with_cancel_file(context, model.folder),
            )
    trained = newest_model(task)
    assert trained is not None
    return trained


def require_trainable(task: Task) -> None:
    """Raise `InputError` if a task has no examples, or if a segment is on none of them."""
    examples = task.training_examples()
    if not examples:
        raise InputError("task_without_examples", name=task.name)
    shown = {value for library_slice in task.slices for value in library_slice.annotated}
    shown |= {value for example in task.examples for value, count in enumerate(example.voxels, start=1) if count}
    missing = [segment.name for segment in task.segments if segment.value not in shown]
    if missing:
        raise InputError("task_label_nowhere", name=task.name, segment=missing[0])
    for example in task.examples:
        if not paths.is_folder(example.folder(task.folder)):
            raise InputError("task_example_damaged", name=task.name, number=example.number)


def request_stop(task: Task) -> None:
    """Ask the training of a task that runs in another process to stop."""
    for model in task_models(task)[-1:]:
        with contextlib.suppress(OSError):
            (model.folder / CANCEL_FILE).open("xb").close()


@contextlib.contextmanager
def _exclusive(task: Task) -> Iterator[None]:
    try:
        (task.folder / MODELS).mkdir(task.folder.stat().st_mode & 0o777, exist_ok=True)
        file = open_locked(task.folder / TRAINING_LOCK)
    except OSError as error:
        raise unwritable_error(task.folder, error) from None
    if file is None:
        raise InputError("task_in_training", name=task.name)
    share_lock(task.folder / TRAINING_LOCK)
    with file:
        yield


@contextlib.contextmanager
def _removed_if_refused(model: TaskModel) -> Iterator[None]:
    """Context manager: remove the folder of a model again if its examples are refused before training begins."""
    try:
        yield
    except InputError:
        if [entry.name for entry in paths.entries(model.folder)] == [TRAINING_FILE]:
            shutil.rmtree(model.folder, ignore_errors=True)
        raise


def _open_or_create(task: Task, warm: bool, context: RunContext) -> tuple[TaskModel, Path | None]:
    """The unfinished model of the same examples, or a new one; and the folder of the model to start from."""
    models = task_models(task)
    finished = [model for model in models if not model.in_training]
    record = TrainingRecord.of_task(task)
    for model in models:
        if model.in_training:
            if _same_content(model.record, record):
                with contextlib.suppress(OSError):
                    (model.folder / CANCEL_FILE).unlink(missing_ok=True)
                start = [earlier for earlier in finished if earlier.number == model.record.start]
                return model, _start(task, start, context)
            shutil.rmtree(model.folder, ignore_errors=True)  # the examples have changed since
    start_folder = _start(task, finished, context) if warm else None
    record = TrainingRecord.of_task(task, start_folder.name if start_folder else "")
    folder = task.folder / MODELS / _free_number(task)
    try:
        with task_lock(task.folder):
            folder.mkdir()
            try:
                record.write(folder)
            except InputError:
                remove_path(folder)
                raise
    except OSError as error:
        raise unwritable_error(folder, error) from None
    return TaskModel(folder, record, None), start_folder


def _same_content(first: TrainingRecord, second: TrainingRecord) -> bool:
    return (first.segments, first.content, first.program) == (second.segments, second.content, second.program)


def _start(task: Task, finished: Sequence[TaskModel], context: RunContext) -> Path | None:
    """Folder of the newest of some models that can be loaded; None if there is none, or it has other segments."""
    for model in reversed(finished):
        if not model.fits(task):
            break
        if is_loadable(model.folder, len(task.segments)):
            return model.folder
        context.warn(Message("task_model_unusable", name=task.name, number=model.number))
    return None


def _free_number(task: Task) -> str:
    used = [int(entry.name) for entry in paths.entries(task.folder / MODELS) if entry.name.isdecimal()]
    number = max(used, default=0) + 1
    if number > _MAX_MODELS:
        raise InputError("task_full", name=task.name, most=_MAX_MODELS)
    return f"{number:04}"


def _with_cancel_file(context: RunContext, folder: Path) -> RunContext:
    return replace(context, stop=lambda: context.stop() or paths.lexists(folder / CANCEL_FILE))
