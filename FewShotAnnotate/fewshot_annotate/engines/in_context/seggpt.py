"""Engine `seggpt`: in-context painting from labelled slices as prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...weights import store
from ...weights.catalog import Checkpoint
from ..option import Option
from ..pretrained.architecture import architecture_errors, build_model, require_importable
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.greyscale_engine import GreyscaleEngine
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import joint_of_segmented, zero_outside
from ..pretrained.slice_progress import SliceProgress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .seggpt_network import InContextModel

MODEL = "model"
CHECKPOINTS = {MODEL: ("seggpt-vit-large", "seggpt-vit-large-original")}


class SegGpt(GreyscaleEngine):
    """In-context painting, one label at a time, white on black.

    The prompts are the nearest labelled slices that show the label, combined by feature ensemble.
    """

    name = "seggpt"
    title = "SegGPT"
    summary = "Shows the model your nearest slices beside each slice to fill. Slow without a GPU."
    licence = "code Apache-2.0; weights Apache-2.0 or MIT"
    packages = ("transformers", "safetensors", "PIL")
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = CHECKPOINTS
    options: ClassVar[Mapping[str, Option]] = {
        **checkpoint_options(CHECKPOINTS),
        "prompts": Option(2, "labelled slices used as prompts; time and memory grow with their number", 1, 64),
        "intensities": INTENSITIES,
        "precision": PRECISION,
    }

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield slice by slice; labels stay near their extent on the neighbouring labelled slices."""
        from .seggpt_network import as_input

        device = self.choose_device()
        model = self.load(device)
        limits = self.limits(slice_indices)
        progress = SliceProgress(self.context.report_progress, sum(map(len, limits.values())))
        max_prompts = self.settings.get("prompts", 1)
        images: dict[int, np.ndarray] = {}
        for index in slice_indices:
            image = as_input(self.greyscale.rgb(index), model.side)
            results = {}
            for label_index, limit in limits[index].items():
                grey, max_prompts = self.with_less_memory(
                    lambda count, label_index=label_index, index=index, image=image: self._paint(  # type: ignore[misc]
                        model, index, image, label_index, count, images, progress
                    ),
                    range(max_prompts, 0, -1),
                    device,
                )
                results[label_index] = zero_outside(grey, limit)
                progress.finish()
            yield index, joint_of_segmented(self._support.labels, results, self._shape)

    def load(self, device: torch.device) -> InContextModel:
        """Load the model."""
        checkpoint = self.checkpoint(MODEL)
        return load_network(checkpoint, store.path_of(checkpoint), device)

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless the tensors fit the network."""
        from .seggpt_network import InContextModel

        require_importable("torchvision", "transformers")
        with architecture_errors(path):
            InContextModel(state)

    def _paint(
        self,
        model: InContextModel,
        index: int,
        image: np.ndarray,
        label_index: int,
        count: int,
        images: dict[int, np.ndarray],
        progress: SliceProgress,
    ) -> np.ndarray:
        """Probability `[h, w]` of a label, scaled so that the model's threshold corresponds to 0.5."""
        from ..sam.network import resized
        from .seggpt_network import THRESHOLD, as_input, as_painting

        support = self._support
        prompts = []
        for support_index in self.nearest(index, label_index, count):
            if support_index not in images:
                images[support_index] = as_input(self.greyscale.rgb(support.indices[support_index]), model.side)
            mask = support.masks[support_index] == support.labels[label_index]
            prompts.append((images[support_index], as_painting(mask, model.side)))
        with self.precision(model.device):
            grey = model.paint(image, prompts, progress.report)
        probability: np.ndarray = resized((grey / (2 * THRESHOLD))[None], self._shape)[0].cpu().numpy()
        return probability

    def nearest(self, index: int, label_index: int, count: int) -> list[int]:
        """Support indices of slices that show a label, nearest first; ties are resolved by the larger area."""
        support = self._support
        label = support.labels[label_index]
        return sorted(
            self._extents.slices_showing(label_index),
            key=lambda support_index: (
                abs(support.indices[support_index] - index),
                -int((support.masks[support_index] == label).sum()),
            ),
        )[:count]


@lru_cache(maxsize=1)
def load_network(checkpoint: Checkpoint, path: Path, device: torch.device) -> InContextModel:
    """Load the model of a checkpoint; cached for the life of the process."""
    from .seggpt_network import InContextModel

    return build_model(checkpoint, path, ("torchvision", "transformers"), lambda state: InContextModel(state, device))
