"""Status of a data set in the panel: the case in the scene, how far the review is, and when to train."""

from __future__ import annotations

from ...datasets.case_table import CaseRow, ReviewState
from ...datasets.task.advice import TrainingAdvice
from ..datasets.controller import AddedVolumes, DatasetController
from ..i18n import tr as _
from ..messages import error_text


def dataset_status(controller: DatasetController, case: CaseRow | None) -> str:
    """Some lines on a data set.

    Parameters
    ----------
    controller : DatasetController
    case : CaseRow or None
        The case in the scene.
    """
    review, overview = controller.review, controller.overview
    if review is None:
        return ""
    lines = []
    if controller.working:
        lines.append(_("Reading or writing ..."))
    if case is not None:
        edited = _("{name}, edited").format(name=case.name) if review.changed else case.name
        lines.append(f"{edited}: {case.message}" if case.message else edited)
    accepted = sum(row.state is ReviewState.ACCEPTED for row in review.cases)
    lines.append(_("{accepted} of {count} cases accepted.").format(accepted=accepted, count=len(review.cases)))
    following = review.next()
    reason = review.table.reason(following)
    if reason is not None and reason.code != "next_usual":
        lines.append(_("Next is {name}: {reason}").format(name=following, reason=error_text(reason)))
    if controller.added is not None:
        lines.append(_added_text(controller.added))
    if overview.error is not None:
        lines.append(error_text(overview.error))
    elif overview.advice is not None:
        lines.append(_advice_text(overview.advice))
    if controller.error is not None:
        lines.append(error_text(controller.error))
    return "\n".join(lines)


def _added_text(volumes: AddedVolumes) -> str:
    """What was added of a folder of volumes."""
    text: str = _("{count} volumes were added.").format(count=volumes.added)
    if volumes.listed:
        text += _(" Cases already: {count}.").format(count=volumes.listed)
    if volumes.label_maps:
        text += _(" Label maps left out: {count}.").format(count=volumes.label_maps)
    return text


def _advice_text(advice: TrainingAdvice) -> str:
    """How the next cases would profit from a training."""
    if not advice.model:
        if advice.worthwhile:
            return _(
                "{count} accepted cases are in the task: train a model on them, and it fills the next ones."
            ).format(count=advice.examples)
        return _("Cases to label and accept before the first training: {count}.").format(count=2 - advice.examples)
    dice = "" if advice.dice is None else _(" Expected Dice on the next case: {dice:.2f}.").format(dice=advice.dice)
    if advice.worthwhile:
        text = _("{count} accepted cases are new since the last training: train again, and the next fills improve.")
        return text.format(count=advice.new) + dice
    return _("{count} accepted cases are new since the last training.").format(count=advice.new) + dice
