"""Manner: how a model of SAM's kind was trained to see a slice, and to answer a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..pretrained.prompts import Prompt

if TYPE_CHECKING:
    from .network import Picture, SamModel


@dataclass(frozen=True)
class Manner:
    """One of them.

    Attributes
    ----------
    recipe : str
        How an image is prepared for the encoder, as part of the key of its embedding.
    see : function
        (model, slice uint8 `[h, w]`, its embedding if that is known) -> Picture.
    answer : function
        (model, picture, prompt) -> probability, float32 `[h, w]`, of what the prompt points at.
    """

    recipe: str
    see: Callable[[SamModel, np.ndarray, np.ndarray | None], Picture]
    answer: Callable[[SamModel, Picture, Prompt], np.ndarray]


def _see_padded(model: SamModel, grey: np.ndarray, features: np.ndarray | None) -> Picture:
    return model.picture(np.repeat(grey[:, :, None], 3, axis=2), features)


def _answer_with_logits(model: SamModel, picture: Picture, prompt: Prompt) -> np.ndarray:
    """Logits are resampled first, and made probabilities then."""
    points = (prompt.points, prompt.inside) if len(prompt.points) else (None, None)
    logits, _ = model.decode(picture, points[0], points[1], prompt.box)
    probability: np.ndarray = model.enlarge(logits, picture)[0].sigmoid().cpu().numpy()
    return probability


def _see_stretched(model: SamModel, grey: np.ndarray, features: np.ndarray | None) -> Picture:
    return model.stretched(grey, features)


def _answer_with_probabilities(model: SamModel, picture: Picture, prompt: Prompt) -> np.ndarray:
    """By the box alone; probabilities are made first, and resampled then."""
    from .network import resized

    logits, _ = model.decode(picture, box=prompt.box)
    probability: np.ndarray = resized(logits.sigmoid(), picture.size)[0].cpu().numpy()
    return probability


SAM = Manner("long side, bilinear, padded", _see_padded, _answer_with_logits)
MEDSAM = Manner("stretched, cubic, 0 to 1", _see_stretched, _answer_with_probabilities)
