"""Engine `sam`: Segment Anything, prompted on each slice by what was carried there from the labelled ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...core.data_folder import data_folder
from ...core.support import Support
from ...core.volume import Volume
from ...weights import store
from ...weights.catalog import Checkpoint
from ..base import Option, RunContext
from ..pretrained.architecture import build_model
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.grey_slices import GreyEngine
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import present, within
from ..pretrained.prompts import Carried, Prompt
from ..pretrained.quarter_turns import Turns, watched
from ..propagate.engine import Propagate
from .embeddings import EmbeddingCache, embedding_key
from .variants import SAM, Manner

if TYPE_CHECKING:
    import torch

    from .network import Picture, SamModel

# The need that checkpoints of this kind meet, and the option that chooses one.
MODEL = "model"
SAM_CHECKPOINTS = {MODEL: ("sam-vit-b", "sam-vit-l", "sam-vit-h")}
SAM_PACKAGES = ("segment_anything", "torchvision", "PIL")
CACHE = Option(2048, "MiB on disk for image embeddings, which spare a second run the encoder; 0: none", 0, 1e6)
_MIB = 1 << 20


class EmbeddingEngine(GreyEngine):
    """Base of engines on SAM's image encoder, whose embeddings are kept on disk.

    A slice's embedding depends on the image alone, so a run with other labels, or another engine on the same model,
    finds it again.
    """

    packages: ClassVar[tuple[str, ...]] = SAM_PACKAGES
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = SAM_CHECKPOINTS

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Keep views and find how intensities become grey values."""
        super().prepare(volume, support, context)
        self._model: SamModel | None = None

    @property
    def manner(self) -> Manner:
        """How the model was trained to see and to answer."""
        return SAM

    def model(self) -> SamModel:
        """The model, loaded at the first call."""
        if self._model is None:
            device = self.choose_device()
            checkpoint = self.checkpoint(MODEL)
            self._model = _load(checkpoint, store.path_of(checkpoint), device)
            self._digest = " ".join(sorted(store.known_digests(checkpoint).values()))
            folder = data_folder() / "embeddings"
            self._cache = EmbeddingCache(folder, self.settings["cache"] * _MIB)
        return self._model

    def picture(self, index: int, turns: Turns) -> Picture:
        """Slice `index` as the decoder sees it; its embedding is taken from disk if it is there."""
        model = self.model()
        grey = self._greys.grey(index)
        with self.precision(model.device):
            key = embedding_key(grey, self._digest, f"{self.manner.recipe} {model.precision()}")
            known = self._cache.get(key)
            if known is not None and known.dtype == np.float32 and known.shape == model.features_shape:
                return self.manner.see(model, grey, known)

            def encode(_: int) -> Picture:
                with watched(model.sam.image_encoder.blocks, turns.within):
                    return self.manner.see(model, grey, None)

            picture, _ = self.with_less_memory(encode, (1,), model.device)
        self._cache.put(key, picture.features.cpu().numpy())
        return picture


class PromptedEngine(EmbeddingEngine):
    """Base of engines that ask SAM for each part of each label by a prompt carried from the labelled slices."""

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """As the base, and prepare to carry labels."""
        super().prepare(volume, support, context)
        self._propagate = Propagate()
        self._propagate.prepare(volume, support)
        self._carried = Carried(self._propagate, support, self.settings.get("outside", 0))

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The slices that `propagate` gives, from which the prompts are made."""
        yield from self._propagate.predict(slice_indices)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Carry labels, prompt, and let the model find the outlines; labels do not leave the carried extent."""
        turns = Turns(self.context.report_progress, len(slice_indices))
        for index, prompts in self._carried.prompts(slice_indices):
            found = {}
            if prompts:
                refined = self.refine(index, prompts, turns)
                picture = self.picture(index, turns)
                for place, parts in refined.items():
                    limit = self._carried.extents.limit(index, place)
                    if limit is not None:
                        answers = [self.manner.answer(self.model(), picture, part) for part in parts]
                        found[place] = within(np.max(answers, axis=0), limit)
                    turns.within(1.0)
            yield index, present(self._support.labels, found, self._shape)
            turns.next()

    def refine(self, index: int, prompts: dict[int, list[Prompt]], turns: Turns) -> dict[int, list[Prompt]]:
        """Better prompts for a slice than the carried ones, by place; here those themselves."""
        return prompts


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

    def refine(self, index: int, prompts: dict[int, list[Prompt]], turns: Turns) -> dict[int, list[Prompt]]:
        """Boxes alone, if the user wants no points."""
        if self.settings["points"]:
            return prompts
        return {place: [part.without_points() for part in parts] for place, parts in prompts.items()}


@lru_cache(maxsize=1)
def _load(checkpoint: Checkpoint, path: Path, device: torch.device) -> SamModel:
    """The model of a checkpoint, kept for the life of the process."""
    from .network import SamModel

    return build_model(checkpoint, path, ("torchvision", "segment_anything"), lambda state: SamModel(state, device))
