"""Engine `grounding-dino`: the segment's name finds it on each slice, the labelled slices keep that honest."""

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
from ..base import Option, RunContext
from ..pretrained.architecture import build_model
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.intensity import INTENSITIES
from ..pretrained.prompts import Box, Prompt
from ..sam.engine import CACHE, MODEL, SAM_CHECKPOINTS, SAM_PACKAGES, PromptedEngine
from ..sam.variants import MEDSAM, SAM, Manner

if TYPE_CHECKING:
    import torch

    from ..pretrained.quarter_turns import Turns
    from .network import GroundingModel, Text

DETECTOR, VOCABULARY = "detector", "vocabulary"
CHECKPOINTS = {
    DETECTOR: ("grounding-dino-tiny",),
    VOCABULARY: ("grounding-dino-vocabulary",),
    MODEL: (*SAM_CHECKPOINTS[MODEL], "medsam-vit-b"),
}
# Names that programs give when the user gave none: they say nothing.
_NO_NAME = re.compile(r"(label|segment|structure|roi)?[\s_-]*\d*", re.IGNORECASE)


class GroundingDino(PromptedEngine):
    """Boxes by name, masks by SAM or MedSAM.

    Of the boxes that the name finds, those count that lie where the label was carried to; the best of them takes the
    place of the carried box. Where there is none, and for labels without a name in words, the carried box stays.
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
        "text": Option("", "names in place of the segments', in the order of their values: liver. spleen."),
        "threshold": Option(0.25, "least score of a box", 0.0, 1.0),
        "overlap": Option(0.3, "least overlap (IoU) of a box with the carried one", 0.0, 1.0),
        "side": Option(800, "pixels of the shortest side as the detector sees it", 64, 2000),
        "intensities": INTENSITIES,
        "precision": PRECISION,
        "cache": CACHE,
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """As the base, and find the names."""
        super().prepare(volume, support, context)
        named = [text.strip() for text in self.settings["text"].split(".")]
        if not any(named):
            named = [context.names.get(label, "") for label in support.labels]
        words = dict(zip(range(len(support.labels)), named, strict=False))
        self._words = {place: word for place, word in words.items() if not _NO_NAME.fullmatch(word.strip())}
        nameless = len(support.labels) - len(self._words)
        if nameless:
            context.warn(Message("segments_nameless", count=nameless, total=len(support.labels)))
        self._texts: list[tuple[Text, list[int]]] | None = None

    @property
    def manner(self) -> Manner:
        """That of the model which draws the outlines."""
        return MEDSAM if self.checkpoint(MODEL).name.startswith("medsam") else SAM

    def refine(self, index: int, prompts: dict[int, list[Prompt]], turns: Turns) -> dict[int, list[Prompt]]:
        """Boxes found by name in place of carried ones."""
        wanted = [place for place in prompts if place in self._words]
        if not wanted:
            return prompts
        model = self.detector()
        rgb = self._greys.rgb(index)
        refined = dict(prompts)
        for text, places in self._asked(model):
            if not set(places) & set(wanted):
                continue

            def find(_: int, text: Text = text) -> tuple[np.ndarray, np.ndarray]:
                with self.precision(model.device):
                    return model.find(rgb, text, self.settings["side"], lambda part: turns.within(0.4 * part))

            (boxes, scores), _ = self.with_less_memory(find, (1,), model.device)
            for place, score in zip(places, scores, strict=True):
                limit = self._carried.extents.limit(index, place)
                if place in prompts and limit is not None:
                    box = self._best(boxes, score, prompts[place], limit)
                    if box is not None:
                        refined[place] = [Prompt(box, np.empty((0, 2)), np.empty(0, dtype=bool))]
        return refined

    def detector(self) -> GroundingModel:
        """The model that finds boxes, loaded at the first call."""
        device = self.model().device
        files = [self.checkpoint(need) for need in (DETECTOR, VOCABULARY)]
        return _load(*files, store.path_of(files[0]), device)

    def _asked(self, model: GroundingModel) -> list[tuple[Text, list[int]]]:
        """Texts of all names, with the places of their labels."""
        if self._texts is None:
            places = list(self._words)
            texts = model.texts([self._words[place] for place in places])
            left = iter(places)
            self._texts = [(text, [next(left) for _ in text.spans]) for text in texts]
        return self._texts

    def _best(self, boxes: np.ndarray, scores: np.ndarray, carried: Sequence[Prompt], limit: Box) -> Box | None:
        """The box of the highest score that lies within reach and on the carried boxes; None if there is none."""
        around = np.array([prompt.box for prompt in carried])
        whole = (*around[:, :2].min(axis=0), *around[:, 2:].max(axis=0))
        inside = np.concatenate([np.maximum(boxes[:, :2], limit[:2]), np.minimum(boxes[:, 2:], limit[2:])], axis=1)
        fits = (scores > self.settings["threshold"]) & (overlaps(inside, whole) >= self.settings["overlap"])
        if not fits.any():
            return None
        x0, y0, x1, y1 = (float(value) for value in inside[np.where(fits, scores, -1).argmax()])
        return x0, y0, x1, y1


def overlaps(boxes: np.ndarray, other: Sequence[float]) -> np.ndarray:
    """Intersection over union `[n]` of boxes `[n, 4]` (x0, y0, x1, y1) with another."""
    import torch
    from torchvision.ops import box_iou

    found = box_iou(torch.from_numpy(boxes), torch.tensor([other], dtype=torch.from_numpy(boxes).dtype))[:, 0]
    return found.nan_to_num().numpy()  # boxes without area: 0


@lru_cache(maxsize=1)
def _load(checkpoint: Checkpoint, vocabulary: Checkpoint, path: Path, device: torch.device) -> GroundingModel:
    """The model of a checkpoint, kept for the life of the process."""
    from .network import GroundingModel

    words = store.read_text(vocabulary).splitlines()
    return build_model(
        checkpoint, path, ("torchvision", "transformers"), lambda state: GroundingModel(state, words, device)
    )
