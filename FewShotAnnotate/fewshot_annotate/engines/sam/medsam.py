"""Engine `medsam`: SAM made ready for medical images, prompted by boxes carried from the labelled slices.

Ma et al., "Segment anything in medical images" (Nature Communications 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..base import Option
from ..pretrained.base import PRECISION
from ..pretrained.intensity import INTENSITIES
from .engine import CACHE, MODEL, PromptedEngine
from .variants import MEDSAM, Manner


class MedSam(PromptedEngine):
    """Boxes alone: the model was trained with nothing else."""

    name = "medsam"
    title = "MedSAM"
    summary = "SAM trained on medical images: boxes carried from your slices, outlines from the image."
    licence = "Apache-2.0; weights CC-BY-4.0"
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {MODEL: ("medsam-vit-b",)}
    options: ClassVar[Mapping[str, Option]] = {"intensities": INTENSITIES, "precision": PRECISION, "cache": CACHE}

    @property
    def manner(self) -> Manner:
        """Slices stretched to the square, boxes as prompts."""
        return MEDSAM
