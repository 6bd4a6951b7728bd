"""Engine `medsam`: SAM made ready for medical images, prompted by boxes carried from the labelled slices.

Ma et al., "Segment anything in medical images" (Nature Communications 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .base import Option
from .intensity import INTENSITIES
from .pretrained import PRECISION
from .prompts import Prompt
from .sam import CACHE, MODEL, PromptedEngine

if TYPE_CHECKING:
    from .sam_model import Picture, SamModel


class MedSam(PromptedEngine):
    """Boxes alone: the model was trained with nothing else."""

    name = "medsam"
    title = "MedSAM"
    summary = "SAM trained on medical images: boxes carried from your slices, outlines from the image."
    licence = "Apache-2.0; weights CC-BY-4.0"
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {MODEL: ("medsam-vit-b",)}
    options: ClassVar[Mapping[str, Option]] = {"intensities": INTENSITIES, "precision": PRECISION, "cache": CACHE}
    recipe = "stretched, cubic, 0 to 1"

    def see(self, model: SamModel, grey: np.ndarray, features: np.ndarray | None = None) -> Picture:
        """A slice stretched to the model's square."""
        return model.stretched(grey, features)

    def answer(self, picture: Picture, prompt: Prompt) -> np.ndarray:
        """The one mask for a box: probabilities are made first and resampled then."""
        from .sam_model import resized

        logits, _ = self.model().decode(picture, box=prompt.box)
        probability: np.ndarray = resized(logits.sigmoid(), picture.size)[0].cpu().numpy()
        return probability
