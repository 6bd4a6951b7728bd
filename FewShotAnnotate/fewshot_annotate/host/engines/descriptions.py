"""What the panel says of an engine and of the licence of its weights, in the language of the application."""

from __future__ import annotations

from ...engines.registry import engine_class
from ...weights.catalog import Checkpoint
from ..i18n import tr as _


def engine_summary(name: str) -> str:
    """One sentence on what an engine does, by its name."""
    return engine_summaries().get(name) or engine_class(name).summary


def engine_summaries() -> dict[str, str]:
    """Those of the engines of this program; one that was added has its own in English."""
    return {
        "propagate": _("Carries labels from slice to slice along optical flow. No download, no GPU."),
        "adapt": _(
            "Fits a small network to your slices and fuses it with propagation and region growing. No download."
        ),
        "specialist": _("Networks trained on the accepted cases of a task; needs no painted slice. No download."),
        "universeg": _("Segments what your labelled slices, or those of other patients, show. For research only."),
        "multiverseg": _("As UniverSeg, larger, newer and slower. The authors state no licence for the weights."),
        "sam": _("Segment Anything: boxes and points from your slices, outlines from the image."),
        "medsam": _("SAM trained on medical images: boxes from your slices, outlines from the image."),
        "persam": _("SAM segments what resembles the labels of your nearest slice; no training."),
        "persam-f": _("As PerSAM, with the weights of SAM's three masks fitted to your slice."),
        "seggpt": _("Shows the model your nearest slices beside each slice to fill. Slow without a GPU."),
        "painter": _("Shows the model your nearest slice beside each slice to fill; SegGPT is usually better."),
        "grounding-dino": _(
            "Finds segments by their English names near where your slices show them; outlines by SAM or MedSAM."
        ),
        "sam2-video": _("Tracks labels through the slices as through a video, from both sides."),
        "nninteractive": _("Segments each label in 3D from all your slices at once. For non-commercial use only."),
    }


def restrictions_text(checkpoint: Checkpoint) -> str:
    """One sentence on what the licence of weights asks for."""
    return {
        "Apache-2.0": _("None beyond Apache-2.0."),
        "MIT": _("None beyond MIT."),
        "CC-BY-4.0": _("Name the authors (CC-BY-4.0)."),
        "CC-BY-SA-4.0": _(
            "Name the authors, and pass on changed weights under the same licence only (CC-BY-SA-4.0)."
        ),
        "CC-BY-NC-SA-4.0": _(
            "For non-commercial use only; name the authors, and pass on changed weights under the same licence only "
            "(CC-BY-NC-SA-4.0)."
        ),
        "OpenRAIL++-M": _("For research only; pass it on only with its licence and its use restrictions."),
        "not stated": _(
            "The authors state no licence for the weights: ask them before any use beyond trying it out."
        ),
    }.get(checkpoint.licence, checkpoint.restrictions)
