"""What is said of a run and of its buttons, the same in the panel and in the Segment Editor effect."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..core.errors import InputError
from ..core.event import Progress, Stage
from .controller import FillController, State
from .panel.widgets import duration, sentence
from .sequence import require_no_sequence
from .unfinished import UnfinishedRun


def is_idle(logic: Any) -> bool:
    """Whether no run is under way and none is waiting to begin."""
    return logic.controller.state is State.IDLE and not logic.fillWanted


def told(
    logic: Any,
    volume: Any,
    segmentation: Any,
    fill_all: bool,
    left: UnfinishedRun | None,
    refused: InputError | None = None,
) -> list[str]:
    """All that is said of a run, in lines; the first parameters as for `why_not_fill`.

    Parameters
    ----------
    left : UnfinishedRun or None
        An earlier run that can be taken up again.
    refused : InputError or None
        Why the last thing asked for was not done.
    """
    controller = logic.controller
    error = refused or (controller.error if left is not None else None)
    lines = [sentence(error)] if error is not None else []
    if left is not None:
        lines.append(_interrupted(left))
    if not lines:
        lines.append(status(logic, volume, segmentation, fill_all))
    return [line for line in (*lines, *_expected_dice(controller), *controller.warnings) if line]


def status(logic: Any, volume: Any, segmentation: Any, fill_all: bool) -> str:
    """How far a run is, how the last one ended, or what is missing for the next."""
    controller = logic.controller
    if logic.fillWanted:
        return _("Looking at the painted slices ...")
    if controller.state is State.PREPARING:
        return _("Preparing ...")
    if controller.state is State.FINISHING:
        return _("Putting the slices into the segmentation ...")
    if controller.stopping:
        return _("Stopping after the slice at hand ...")
    if controller.state is State.RUNNING:
        return _progress(controller.progress)
    error = logic.survey.error or controller.error
    if error is not None:
        return sentence(error)
    return controller.message or why_not_fill(logic, volume, segmentation, fill_all)


def _progress(progress: Progress) -> str:
    text = {
        Stage.FILLING: _("{done} of {total} slices"),
        Stage.DRAFTING: _("{done} of {total} slices drafted"),
        Stage.REFINING: _("{done} of {total} slices refined"),
    }[Stage(progress.stage)].format(done=progress.counted, total=progress.total)
    if progress.eta is None:
        return text
    return text + _(", {time} left").format(time=duration(progress.eta))


def _interrupted(run: UnfinishedRun) -> str:
    text = _("A run with {engine} was interrupted: {done} of {total} slices are finished.")
    return text.format(engine=run.engine, done=run.done, total=run.total)


def _expected_dice(controller: FillController) -> list[str]:
    text = _("{name}: expected Dice {dice:.2f} ({low:.2f} to {high:.2f})")
    told = controller.expected.values()
    return [text.format(name=name, dice=one.dice, low=one.low, high=one.high) for name, one in told]


def why_busy(logic: Any) -> str:
    """Why nothing else can be begun, or nothing."""
    return "" if is_idle(logic) else _("Wait for the run to end, or cancel it.")


def why_not_keep(controller: FillController) -> str:
    """Why finished slices cannot be kept, or nothing."""
    if controller.state is State.STOPPED or (controller.state is State.RUNNING and not controller.stopping):
        return ""
    if controller.state in (State.RUNNING, State.FINISHING):
        return _("The finished slices are being kept.")
    return _("No slice is finished yet.")


def why_not_fill(logic: Any, volume: Any, segmentation: Any, fill_all: bool) -> str:
    """Why Fill cannot be pressed, or nothing.

    Parameters
    ----------
    logic : FewShotAnnotateLogic
    volume, segmentation : nodes that are chosen, or None
    fill_all : whether slices outside the painted range are filled too
    """
    if volume is None:
        return _("Choose a volume first.")
    if segmentation is None:
        return _("Choose or create a segmentation first.")
    try:
        require_no_sequence(volume)
    except InputError as error:
        return sentence(error)
    if logic.survey.error is not None:
        return sentence(logic.survey.error)
    if logic.survey.grid is None:
        return _("Looking at the segmentation ...")
    selection = logic.selection(segmentation)
    if not selection.labelled or not selection.segment_ids:
        return _("Paint at least two slices first.")
    if len(selection.labelled) == 1 and not fill_all:
        return _("Paint one more slice: nothing lies between yet.")
    return ""
