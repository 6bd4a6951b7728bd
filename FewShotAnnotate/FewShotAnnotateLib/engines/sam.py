"""Engine `sam`: Segment Anything, prompted on each slice by what was carried there from the labelled ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..core.support import Support
from ..core.volume import Volume
from . import weights
from .architecture import built_from
from .base import Option
from .embeddings import EmbeddingCache, embedding_key
from .intensity import INTENSITIES, Greys, Scale
from .joint import present, within
from .pretrained import PRECISION, PretrainedEngine, checkpoint_options
from .prompts import Carried, Prompt
from .propagate import Propagate
from .turns import Turns, watched

if TYPE_CHECKING:
    import torch

    from .sam_model import Picture, SamModel

# The need that checkpoints of this kind meet, and the option that chooses one.
MODEL = "model"
SAM_CHECKPOINTS = {MODEL: ("sam-vit-b", "sam-vit-l", "sam-vit-h")}
SAM_PACKAGES = ("segment_anything", "torchvision", "PIL")
CACHE = Option(2048, "MiB on disk for image embeddings, which spare a second run the encoder; 0: none", 0, 1e6)
_MIB = 1 << 20


class EmbeddingEngine(PretrainedEngine):
    """Base of engines on SAM's image encoder, whose embeddings are kept on disk.

    A slice's embedding depends on the image alone, so a run with other labels, or another engine on the same model,
    finds it again.
    """

    packages = SAM_PACKAGES
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = SAM_CHECKPOINTS

    def prepare(self, volume: Volume, support: Support) -> None:
        """Keep views and find how intensities become grey values."""
        self._support = support
        self._shape = support.masks.shape[1], support.masks.shape[2]
        self._greys = Greys(support.axis.slices(volume.array), Scale(self.settings["intensities"]))
        self._model: SamModel | None = None

    def model(self) -> SamModel:
        """The model, loaded at the first call."""
        if self._model is None:
            device = self.choose_device()
            checkpoint = self.checkpoint(MODEL)
            self._model = _load(checkpoint, weights.path_of(checkpoint), device)
            self._digest = " ".join(sorted(weights.known_digests(checkpoint).values()))
            folder = weights.home() / "embeddings"
            self._cache = EmbeddingCache(folder, self.settings["cache"] * _MIB)
        return self._model

    def picture(self, index: int, turns: Turns) -> Picture:
        """Slice `index` as the decoder sees it; its embedding is taken from disk if it is there."""
        model = self.model()
        grey = self._greys.grey(index)
        with self.precision(model.device):
            key = embedding_key(grey, self._digest, f"{self.recipe} {model.precision()}")
            known = self._cache.get(key)
            if known is not None and known.dtype == np.float32 and known.shape == model.features_shape:
                return self.see(model, grey, known)

            def encode(_: int) -> Picture:
                with watched(model.sam.image_encoder.blocks, turns.within):
                    return self.see(model, grey)

            picture, _ = self.with_less_memory(encode, (1,), model.device)
        self._cache.put(key, picture.features.cpu().numpy())
        return picture

    # How an image is prepared for the encoder, as part of the key of its embedding.
    recipe: ClassVar[str] = "long side, bilinear, padded"

    def see(self, model: SamModel, grey: np.ndarray, features: np.ndarray | None = None) -> Picture:
        """A slice, uint8 `[h, w]`, through the encoder, unless its embedding is given."""
        return model.picture(np.repeat(grey[:, :, None], 3, axis=2), features)


class PromptedEngine(EmbeddingEngine):
    """Base of engines that ask SAM for each part of each label by a prompt carried from the labelled slices."""

    def prepare(self, volume: Volume, support: Support) -> None:
        """As the base, and prepare to carry labels."""
        super().prepare(volume, support)
        self._propagate = Propagate()
        self._propagate.prepare(volume, support)
        self._carried = Carried(self._propagate, support, self.settings.get("outside", 0))

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The slices that `propagate` gives, from which the prompts are made."""
        yield from self._propagate.predict(slice_indices)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Carry labels, prompt, and let the model find the outlines; labels do not leave the carried extent."""
        turns = Turns(self.pulse, len(slice_indices))
        for index, prompts in self._carried.prompts(slice_indices):
            found = {}
            if prompts:
                picture = self.picture(index, turns)
                for place, parts in prompts.items():
                    limit = self._carried.extents.limit(index, place)
                    if limit is not None:
                        answers = [self.answer(picture, part) for part in parts]
                        found[place] = within(np.max(answers, axis=0), limit)
                    turns.within(1.0)
            yield index, present(self._support.labels, found, self._shape)
            turns.next()

    @abstractmethod
    def answer(self, picture: Picture, prompt: Prompt) -> np.ndarray:
        """Probability, float32 `[h, w]`, of what a prompt points at."""


class Sam(PromptedEngine):
    """Boxes and points, one mask for each part of a label."""

    name = "sam"
    title = "SAM"
    summary = "Segment Anything: boxes and points carried from your slices, outlines from the image."
    licence = "Apache-2.0; weights Apache-2.0"
    options: ClassVar[Mapping[str, Option]] = {
        **checkpoint_options(SAM_CHECKPOINTS),
        "outside": Option(1, "points outside each part of a label", 0, 16),
        "points": Option(True, "points beside the boxes"),
        "intensities": INTENSITIES,
        "precision": PRECISION,
        "cache": CACHE,
    }

    def answer(self, picture: Picture, prompt: Prompt) -> np.ndarray:
        """SAM's one mask for a box and points: its logits at the slice's resolution, as probabilities."""
        model = self.model()
        points, inside = (prompt.points, prompt.inside) if self.settings["points"] else (None, None)
        logits, _ = model.decode(picture, points, inside, prompt.box)
        probability: np.ndarray = model.enlarge(logits, picture)[0].sigmoid().cpu().numpy()
        return probability


@lru_cache(maxsize=1)
def _load(checkpoint: weights.Checkpoint, path: Path, device: torch.device) -> SamModel:
    """The model of a checkpoint, kept for the life of the process."""
    from .sam_model import SamModel

    state = weights.load_state(checkpoint)
    with built_from(path):
        return SamModel(state, device)
