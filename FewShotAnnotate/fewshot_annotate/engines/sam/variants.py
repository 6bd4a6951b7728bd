"""SamVariant: preprocessing and postprocessing that SAM and the models derived from it were trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..pretrained.prompts import Prompt

if TYPE_CHECKING:
    from .network import EmbeddedSlice, SamModel


@dataclass(frozen=True)
class SamVariant:
    """Preprocessing and postprocessing of one model.

    Attributes
    ----------
    preprocessing : str
        Description of how an image is prepared for the encoder; part of the cache key of embeddings.
    embed : function
        (model, slice uint8 `[h, w]`, its embedding or None) -> EmbeddedSlice.
    predict : function
        (model, embedded slice, prompt) -> probability, float32 `[h, w]`, of the prompted object.
    """

    preprocessing: str
    embed: Callable[[SamModel, np.ndarray, np.ndarray | None], EmbeddedSlice]
    predict: Callable[[SamModel, EmbeddedSlice, Prompt], np.ndarray]


def _embed_padded(model: SamModel, grey: np.ndarray, features: np.ndarray | None) -> EmbeddedSlice:
    return model.embed(np.repeat(grey[:, :, None], 3, axis=2), features)


def _predict_resampling_logits(model: SamModel, embedded: EmbeddedSlice, prompt: Prompt) -> np.ndarray:
    """Probability from logits resampled to the slice."""
    points = (prompt.points, prompt.inside) if len(prompt.points) else (None, None)
    logits, _ = model.decode(embedded, points[0], points[1], prompt.box)
    probability: np.ndarray = model.enlarge(logits, embedded)[0].sigmoid().cpu().numpy()
    return probability


def _embed_stretched(model: SamModel, grey: np.ndarray, features: np.ndarray | None) -> EmbeddedSlice:
    return model.embed_stretched(grey, features)


def _predict_resampling_probabilities(model: SamModel, embedded: EmbeddedSlice, prompt: Prompt) -> np.ndarray:
    """Probability from the box only, resampled to the slice."""
    from .network import resized

    logits, _ = model.decode(embedded, box=prompt.box)
    probability: np.ndarray = resized(logits.sigmoid(), embedded.size)[0].cpu().numpy()
    return probability


SAM = SamVariant("long side, bilinear, padded", _embed_padded, _predict_resampling_logits)
MEDSAM = SamVariant("stretched, cubic, 0 to 1", _embed_stretched, _predict_resampling_probabilities)
