"""Engine `sam`: Segment Anything, prompted on each slice by labels propagated from the labelled slices."""

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
from ..base import RunContext
from ..option import Option
from ..pretrained.architecture import build_model
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.greyscale_engine import GreyscaleEngine
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import joint_of_segmented, zero_outside
from ..pretrained.prompts import Prompt, PropagatedPrompts
from ..pretrained.slice_progress import SliceProgress, report_blocks
from ..propagate.flow_propagation import FlowPropagation
from .embeddings import EmbeddingCache, embedding_key
from .variants import SAM, SamVariant

if TYPE_CHECKING:
    import torch

    from .network import EmbeddedSlice, SamModel

# Role of the checkpoint, and name of the option that chooses one.
MODEL = "model"
SAM_CHECKPOINTS = {MODEL: ("sam-vit-b", "sam-vit-l", "sam-vit-h")}
SAM_PACKAGES = ("segment_anything", "torchvision", "PIL")
CACHE = Option(2048, "disk space in MiB for image embeddings, which make later runs faster; 0: no cache", 0, 1e6)
_MIB = 1 << 20


class EmbeddingEngine(GreyscaleEngine):
    """Base class of engines with SAM's image encoder, whose embeddings are cached on disk.

    An embedding depends on the image only, so it is reused in runs with other labels and by other engines on the
    same model.
    """

    packages: ClassVar[tuple[str, ...]] = SAM_PACKAGES
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = SAM_CHECKPOINTS

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input and choose the conversion of intensities to grey values."""
        super().prepare(volume, support, context)
        self._model: SamModel | None = None

    @property
    def variant(self) -> SamVariant:
        """Preprocessing and postprocessing that the model was trained with."""
        return SAM

    def model(self) -> SamModel:
        """The model, loaded by the first call."""
        if self._model is None:
            device = self.choose_device()
            checkpoint = self.checkpoint(MODEL)
            self._model = load_network(checkpoint, store.path_of(checkpoint), device)
            self._digest = " ".join(sorted(store.known_digests(checkpoint).values()))
            folder = data_folder() / "embeddings"
            self._cache = EmbeddingCache(folder, self.settings["cache"] * _MIB)
        return self._model

    def embed(self, index: int, progress: SliceProgress) -> EmbeddedSlice:
        """Embedding of slice `index`, from the cache if possible."""
        model = self.model()
        grey = self.greyscale.grey(index)
        with self.precision(model.device):
            key = embedding_key(grey, self._digest, f"{self.variant.preprocessing} {model.precision()}")
            cached = self._cache.get(key)
            if cached is not None and cached.dtype == np.float32 and cached.shape == model.features_shape:
                return self.variant.embed(model, grey, cached)

            def encode(_: int) -> EmbeddedSlice:
                with report_blocks(model.sam.image_encoder.blocks, progress.report):
                    return self.variant.embed(model, grey, None)

            embedded, _ = self.with_less_memory(encode, (1,), model.device)
        self._cache.put(key, embedded.features.cpu().numpy())
        return embedded


class PromptedEngine(EmbeddingEngine):
    """Base class of engines that prompt SAM for each connected component of each propagated label."""

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input and prepare the propagation of labels."""
        super().prepare(volume, support, context)
        self._propagate = FlowPropagation(volume, support)
        self.prompts = PropagatedPrompts(self._propagate, support, self.settings.get("outside", 0))

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the slices of `propagate`, from which the prompts are derived."""
        yield from self._propagate.predict(slice_indices)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield slices segmented by the model from propagated prompts, limited to the extent of each label."""
        progress = SliceProgress(self.context.report_progress, len(slice_indices))
        for index, prompts in self.prompts.prompts(slice_indices):
            results = {}
            if prompts:
                refined = self.refine(index, prompts, progress)
                embedded = self.embed(index, progress)
                for label_index, label_prompts in refined.items():
                    limit = self.prompts.extents.limit(index, label_index)
                    if limit is not None:
                        probabilities = [
                            self.variant.predict(self.model(), embedded, prompt) for prompt in label_prompts
                        ]
                        results[label_index] = zero_outside(np.max(probabilities, axis=0), limit)
                    progress.report(1.0)
            yield index, joint_of_segmented(self._support.labels, results, self._shape)
            progress.finish()

    def refine(
        self, index: int, prompts: dict[int, list[Prompt]], progress: SliceProgress
    ) -> dict[int, list[Prompt]]:
        """Improve the propagated prompts of a slice, by label index; here they are returned unchanged."""
        return prompts


class Sam(PromptedEngine):
    """Boxes and points, one mask for each connected component of a label."""

    name = "sam"
    title = "SAM"
    summary = "Segment Anything: boxes and points from your slices, outlines from the image."
    licence = "Apache-2.0; weights Apache-2.0"
    options: ClassVar[Mapping[str, Option]] = {
        **checkpoint_options(SAM_CHECKPOINTS),
        "outside": Option(1, "background points for each connected component of a label", 0, 16),
        "points": Option(True, "prompt with points in addition to boxes"),
        "intensities": INTENSITIES,
        "precision": PRECISION,
        "cache": CACHE,
    }

    def refine(
        self, index: int, prompts: dict[int, list[Prompt]], progress: SliceProgress
    ) -> dict[int, list[Prompt]]:
        """Remove the points if the option `points` is off."""
        if self.settings["points"]:
            return prompts
        return {
            label_index: [prompt.without_points() for prompt in label_prompts]
            for label_index, label_prompts in prompts.items()
        }


@lru_cache(maxsize=1)
def load_network(checkpoint: Checkpoint, path: Path, device: torch.device) -> SamModel:
    """Load the model of a checkpoint; cached for the life of the process."""
    from .network import SamModel

    return build_model(checkpoint, path, ("torchvision", "segment_anything"), lambda state: SamModel(state, device))
