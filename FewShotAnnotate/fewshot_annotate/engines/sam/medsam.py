"""Engine `medsam`: SAM fine-tuned on medical images, prompted by boxes propagated from the labelled slices.

Ma et al., "Segment anything in medical images" (Nature Communications 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..option import Option
from ..pretrained.base import PRECISION
from ..pretrained.intensity import INTENSITIES
from .engine import CACHE, MODEL, PromptedEngine
from .variants import MEDSAM, SamVariant


class MedSam(PromptedEngine):
    """Boxes only, as the model was trained."""

    name = "medsam"
    title = "MedSAM"
    summary = "SAM trained on medical images: boxes from your slices, outlines from the image."
    licence = "Apache-2.0; weights CC-BY-4.0"
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {MODEL: ("medsam-vit-b",)}
    options: ClassVar[Mapping[str, Option]] = {"intensities": INTENSITIES, "precision": PRECISION, "cache": CACHE}

    @property
    def variant(self) -> SamVariant:
        """Slices stretched to the square, prompts without points."""
        return MEDSAM
