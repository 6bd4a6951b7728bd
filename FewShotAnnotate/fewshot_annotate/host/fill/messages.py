"""Sentences about a run and its buttons, the same in the panel and in the Segment Editor effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.errors import InputError
from ...core.events import Progress, Stage
from ...core.slice_axis import SliceAxis
from ..i18n import tr as _
from ..messages import Refusal, error_text, refusal_text
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.reading import segments_left_out
from ..mrml.sequence import require_no_sequence
from ..sentences.details import duration
from .controller import FillController
from .run_state import State
from .segment_rows import SegmentRow, left_out_text
from .unfinished_runs import UnfinishedRun


def is_idle(logic: Any) -> bool:
    """Whether no run is under way and none is waiting to begin."""
    return logic.controller.state is State.IDLE and not logic.fillRequested


def status_lines(
    logic: Any,
    nodes: ChosenNodes,
    fill_all: bool,
    left: UnfinishedRun | None,
    refused: InputError | None = None,
) -> list[str]:
    """How far a run is, how it ended, or what is missing for one; the first parameters as for `why_not_fill`.

    Parameters
    ----------
    left : UnfinishedRun or None
        An earlier run that can be resumed.
    refused : InputError or None
        Why the last action was refused.
    """
    controller = logic.controller
    error = refused or (controller.error if left is not None else None)
    lines = [error_text(error)] if error is not None else []
    if left is not None:
        lines.append(_interrupted(left))
    if not lines:
        lines.append(status_line(logic, nodes, fill_all))
    return [line for line in lines if line]


def status_line(logic: Any, nodes: ChosenNodes, fill_all: bool) -> str:
    """How far a run is, how the last one ended, or what is missing for the next."""
    controller = logic.controller
    if logic.fillRequested:
        return _("Reading the painted slices ...")
    if controller.state is State.PREPARING:
        return _("Preparing ...")
    if controller.state is State.FINISHING:
        return _("Writing the slices into the segmentation ...")
    if controller.live:
        return live_text(controller)
    if controller.stopping:
        return _("Stopping after the current slice ...")
    if controller.state is State.RUNNING:
        return _progress(controller.progress)
    error = logic.annotations.survey.error or controller.error
    if error is not None:
        return error_text(error)
    return controller.message or refusal_text(why_not_fill(logic, nodes, fill_all))


def live_text(controller: FillController) -> str:
    """How far a live run is."""
    if controller.outstanding:
        return _("{count} slices to update").format(count=controller.outstanding)
    return _("Reading the painted slices ...") if controller.busy else _("Up to date. Paint more, or press Apply.")


def _progress(progress: Progress) -> str:
    text = {
        Stage.FILLING: _("{done} of {total} slices"),
        Stage.DRAFTING: _("{done} of {total} slices drafted"),
        Stage.REFINING: _("{done} of {total} slices refined"),
    }[Stage(progress.stage)].format(done=progress.done_in_stage, total=progress.total)
    if progress.eta is None:
        return text
    return text + _(", {time} left").format(time=duration(progress.eta))


def _interrupted(run: UnfinishedRun) -> str:
    text = _("A run with {engine} was interrupted: {done} of {total} slices are finished.")
    return text.format(engine=run.engine, done=run.done, total=run.total)


def expected_dice_lines(controller: FillController) -> list[str]:
    """Expected Dice of each segment of the run, one line each."""
    text = _("{name}: expected Dice {dice:.2f} ({low:.2f} to {high:.2f})")
    expected = controller.expected.values()
    return [
        text.format(name=name, dice=label_dice.dice, low=label_dice.low, high=label_dice.high)
        for name, label_dice in expected
    ]


def left_out_lines(rows: Sequence[SegmentRow], why_not_fill: Refusal) -> list[str]:
    """Before a fill: which segments it would leave as they are, and why.

    Parameters
    ----------
    rows : sequence of SegmentRow
        All segments.
    why_not_fill : InputError or None
        Why Fill cannot be pressed: there is nothing to leave out as long as too little is painted.
    """
    if why_not_fill is not None and why_not_fill.code != "segments_left_out":
        return []
    text = left_out_text(rows)
    return [text] if text else []


def why_busy(logic: Any) -> Refusal:
    """Why nothing else can be begun."""
    return None if is_idle(logic) else InputError("run_under_way")


def why_not_keep(controller: FillController) -> Refusal:
    """Why finished slices cannot be kept."""
    if controller.state is State.STOPPED or (controller.state is State.RUNNING and not controller.stopping):
        return None
    if controller.state in (State.RUNNING, State.FINISHING):
        return InputError("slices_being_kept")
    return InputError("no_slice_finished")


def why_not_fill(logic: Any, nodes: ChosenNodes, fill_all: bool) -> Refusal:
    """Why Fill cannot be pressed.

    Parameters
    ----------
    logic : FewShotAnnotateLogic
    nodes : ChosenNodes
    fill_all : whether slices outside the painted range are filled too
    """
    if not nodes.complete:
        return nodes.refusal
    try:
        require_no_sequence(nodes.volume)
    except InputError as error:
        return error
    survey_error: Refusal = logic.annotations.survey.error
    if survey_error is not None:
        return survey_error
    if logic.annotations.survey.grid is None:
        return InputError("segmentation_being_read")
    snapshot = logic.annotations.snapshot(nodes.segmentation)
    selection = snapshot.selection
    if not selection.labelled or not selection.segment_ids:
        return _why_nothing_labelled(logic, nodes)
    if len(selection.labelled) == 1 and not fill_all:
        return InputError("one_painted")
    count = SliceAxis(selection.axis or 0).count(logic.annotations.survey.grid.geometry)
    fixed = {*selection.labelled, *snapshot.review.accepted}
    fillable = range(count) if fill_all else range(min(fixed), max(fixed) + 1)
    if not fixed.issuperset(fillable):
        return None
    return InputError("nothing_to_refill" if fill_all or snapshot.review.accepted else "none_between")


def _why_nothing_labelled(logic: Any, nodes: ChosenNodes) -> InputError:
    """Why no slice counts as labelled: nothing is painted yet, or what is there has no gap between its slices."""
    if _paints_only_left_out(logic, nodes):
        return InputError("segments_left_out")
    left_out = segments_left_out(nodes.segmentation)
    extents = logic.annotations.survey.extents.items()
    complete = any(extent.slices[0] for name, extent in extents if name not in left_out)
    return InputError("none_between" if complete else "too_few_painted")


def _paints_only_left_out(logic: Any, nodes: ChosenNodes) -> bool:
    """Whether a segment would be filled, were it not locked or hidden."""
    extents, chosen = logic.annotations.survey.extents, logic.annotations.snapshot(nodes.segmentation).record.chosen
    return any(
        chosen.get(name, extents[name].painted_axis is not None)
        for name in segments_left_out(nodes.segmentation)
        if name in extents
    )
