"""Engine `grounding-dino`: boxes detected by the segment's name, checked against the labelled slices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...core.errors import Message
from ...core.support import Support
from ...core.volume import Volume
from ...weights import store
from ...weights.catalog import Checkpoint
from ..base import RunContext
from ..option import Option
from ..pretrained.architecture import build_model
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.intensity import INTENSITIES
from ..pretrained.prompts import Box, Prompt
from ..sam.engine import CACHE, MODEL, SAM_CHECKPOINTS, SAM_PACKAGES, PromptedEngine
from ..sam.variants import MEDSAM, SAM, SamVariant

if TYPE_CHECKING:
    import torch

    from ..pretrained.slice_progress import SliceProgress
    from .network import GroundingModel, Text

DETECTOR, VOCABULARY = "detector", "vocabulary"
CHECKPOINTS = {
    DETECTOR: ("grounding-dino-tiny",),
    VOCABULARY: ("grounding-dino-vocabulary",),
    MODEL: (*SAM_CHECKPOINTS[MODEL], "medsam-vit-b"),
}
# Default names, which do not describe the structure.
_NO_NAME = re.compile(r"(label|segment|structure|roi)?[\s_-]*\d*", re.IGNORECASE)


class GroundingDino(PromptedEngine):
    """Boxes detected by name, masks by SAM or MedSAM.

    The propagated box is replaced by the detected box with the highest score that overlaps it. It is kept where no
    detected box overlaps it, and for labels without a descriptive name.
    """

    name = "grounding-dino"
    title = "Grounding DINO"
    summary = "Finds segments by their English names near where your slices show them; outlines by SAM or MedSAM."
    licence = "Apache-2.0; weights Apache-2.0 (MedSAM's CC-BY-4.0)"
    packages: ClassVar[tuple[str, ...]] = (*SAM_PACKAGES, "transformers", "safetensors")
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = CHECKPOINTS
    uses_names = True
    options: ClassVar[Mapping[str, Option]] = {
        **checkpoint_options(CHECKPOINTS),
        "text": Option(
            "", "names to use instead of the segments' names, in the order of their values: liver. spleen."
        ),
        "threshold": Option(0.25, "minimum score of a box", 0.0, 1.0),
        "overlap": Option(0.3, "minimum overlap (IoU) of a box with the propagated one", 0.0, 1.0),
        "side": Option(800, "pixels of the shortest side of the detector's input", 64, 2000),
        "intensities": INTENSITIES,
        "precision": PRECISION,
        "cache": CACHE,
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input and the names to detect."""
        super().prepare(volume, support, context)
        named = [text.strip() for text in self.settings["text"].split(".")]
        if not any(named):
            named = [context.names.get(label, "") for label in support.labels]
        phrases = dict(zip(range(len(support.labels)), named, strict=False))
        self._phrases = {
            label_index: phrase for label_index, phrase in phrases.items() if not _NO_NAME.fullmatch(phrase.strip())
        }
        unnamed_count = len(support.labels) - len(self._phrases)
        if unnamed_count:
            context.warn(Message("segments_nameless", count=unnamed_count, total=len(support.labels)))
        self._texts: list[tuple[Text, list[int]]] | None = None

    @property
    def variant(self) -> SamVariant:
        """Variant of the model that segments the boxes."""
        return MEDSAM if self.checkpoint(MODEL).name.startswith("medsam") else SAM

    def refine(
        self, index: int, prompts: dict[int, list[Prompt]], progress: SliceProgress
    ) -> dict[int, list[Prompt]]:
        """Replace propagated boxes by those detected by name."""
        named_labels = [label_index for label_index in prompts if label_index in self._phrases]
        if not named_labels:
            return prompts
        model = self.detector()
        rgb = self.greyscale.rgb(index)
        refined = dict(prompts)
        for text, label_indices in self._texts_and_labels(model):
            if not set(label_indices) & set(named_labels):
                continue

            def detect(_: int, text: Text = text) -> tuple[np.ndarray, np.ndarray]:
                with self.precision(model.device):
                    return model.detect(
                        rgb, text, self.settings["side"], lambda fraction: progress.report(0.4 * fraction)
                    )

            (boxes, scores), _ = self.with_less_memory(detect, (1,), model.device)
            for label_index, score in zip(label_indices, scores, strict=True):
                limit = self.prompts.extents.limit(index, label_index)
                if label_index in prompts and limit is not None:
                    box = self._best(boxes, score, prompts[label_index], limit)
                    if box is not None:
                        refined[label_index] = [Prompt(box, np.empty((0, 2)), np.empty(0, dtype=bool))]
        return refined

    def detector(self) -> GroundingModel:
        """The detection model, loaded by the first call."""
        device = self.model().device
        files = [self.checkpoint(role) for role in (DETECTOR, VOCABULARY)]
        return load_network(*files, store.path_of(files[0]), device)

    def _texts_and_labels(self, model: GroundingModel) -> list[tuple[Text, list[int]]]:
        """Texts with all names, each with the indices of its labels."""
        if self._texts is None:
            label_indices = list(self._phrases)
            texts = model.texts([self._phrases[label_index] for label_index in label_indices])
            remaining = iter(label_indices)
            self._texts = [(text, [next(remaining) for _ in text.spans]) for text in texts]
        return self._texts

    def _best(self, boxes: np.ndarray, scores: np.ndarray, propagated: Sequence[Prompt], limit: Box) -> Box | None:
        """The box with the highest score that overlaps the propagated ones, clipped to `limit`; None if none does."""
        around = np.array([prompt.box for prompt in propagated])
        enclosing = (*around[:, :2].min(axis=0), *around[:, 2:].max(axis=0))
        inside = np.concatenate([np.maximum(boxes[:, :2], limit[:2]), np.minimum(boxes[:, 2:], limit[2:])], axis=1)
        fits = (scores > self.settings["threshold"]) & (overlaps(inside, enclosing) >= self.settings["overlap"])
        if not fits.any():
            return None
        x0, y0, x1, y1 = (float(value) for value in inside[np.where(fits, scores, -1).argmax()])
        return x0, y0, x1, y1


def overlaps(boxes: np.ndarray, other: Sequence[float]) -> np.ndarray:
    """Intersection over union `[n]` of boxes `[n, 4]` (x0, y0, x1, y1) with another."""
    import torch
    from torchvision.ops import box_iou

    overlaps = box_iou(torch.from_numpy(boxes), torch.tensor([other], dtype=torch.from_numpy(boxes).dtype))[:, 0]
    result: np.ndarray = overlaps.nan_to_num().numpy()  # boxes without area: 0
    return result


@lru_cache(maxsize=1)
def load_network(checkpoint: Checkpoint, vocabulary: Checkpoint, path: Path, device: torch.device) -> GroundingModel:
    """Load the model of a checkpoint; cached for the life of the process."""
    from .network import GroundingModel

    vocabulary_tokens = store.read_text(vocabulary).splitlines()
    return build_model(
        checkpoint,
        path,
        ("torchvision", "transformers"),
        lambda state: GroundingModel(state, vocabulary_tokens, device),
    )
