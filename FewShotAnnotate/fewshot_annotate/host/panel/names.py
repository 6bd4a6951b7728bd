"""What planes and states are called in the panel, in the language of the application."""

from __future__ import annotations

from ...datasets.case_table import ReviewState
from ..annotation.record import SliceStatus
from ..annotation.review_rows import Origin
from ..i18n import tr as _


def plane_name(plane: str) -> str:
    """Name of a `SliceAxis.patient_plane`."""
    return {
        "axial": _("axial"),
        "coronal": _("coronal"),
        "sagittal": _("sagittal"),
        "oblique axial": _("oblique axial"),
        "oblique coronal": _("oblique coronal"),
        "oblique sagittal": _("oblique sagittal"),
    }[plane]


def slice_state_name(state: Origin | SliceStatus) -> str:
    """Where the labels of a slice come from, or its review status, within a sentence."""
    return {
        Origin.UNFILLED: _("not filled"),
        Origin.FILLED: _("filled"),
        Origin.CORRECTED: _("corrected"),
        Origin.PAINTED: _("painted"),
        SliceStatus.NOT_STARTED: _("not started"),
        SliceStatus.IN_PROGRESS: _("in progress"),
        SliceStatus.ACCEPTED: _("accepted"),
        SliceStatus.FLAGGED: _("flagged"),
    }[state]


def review_state_name(state: ReviewState) -> str:
    """Where a case of a data set is on its way to being accepted."""
    return {
        ReviewState.TO_DO: _("to do"),
        ReviewState.FILLING: _("being filled"),
        ReviewState.FAILED: _("failed"),
        ReviewState.FILLED: _("filled"),
        ReviewState.IN_REVIEW: _("in review"),
        ReviewState.FLAGGED: _("flagged"),
        ReviewState.ACCEPTED: _("accepted"),
    }[state]
