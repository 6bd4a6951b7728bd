"""Engine `seggpt`: labelled slices as painted examples beside the slice to fill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...weights import store
from ...weights.catalog import Checkpoint
from ..base import Option
from ..pretrained.architecture import build_model, built_from, require_importable
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.grey_slices import GreyEngine
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import present, within
from ..pretrained.quarter_turns import Turns

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .seggpt_network import InContextModel

MODEL = "model"
CHECKPOINTS = {MODEL: ("seggpt-vit-large", "seggpt-vit-large-original")}


class SegGpt(GreyEngine):
    """In-context painting: each label is asked for on its own, white on black.

    The nearest labelled slices that show the label are the prompts, with feature ensemble where there are several.
    """

    name = "seggpt"
    title = "SegGPT"
    summary = "Shows the model your nearest slices beside each slice to fill. Slow without a GPU."
    licence = "code Apache-2.0; weights Apache-2.0 or MIT"
    packages = ("transformers", "safetensors", "PIL")
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = CHECKPOINTS
    options: ClassVar[Mapping[str, Option]] = {
        **checkpoint_options(CHECKPOINTS),
        "prompts": Option(2, "labelled slices shown with each slice; time and memory grow with them", 1, 64),
        "intensities": INTENSITIES,
        "precision": PRECISION,
    }

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Slice by slice and label by label; labels do not leave the reach of the labelled slices around."""
        from .seggpt_network import as_input

        device = self.choose_device()
        model = self.load(device)
        limits = self.limits(slice_indices)
        turns = Turns(self.context.report_progress, sum(map(len, limits.values())))
        most = self.settings.get("prompts", 1)
        images: dict[int, np.ndarray] = {}
        for index in slice_indices:
            image = as_input(self._greys.rgb(index), model.side)
            found = {}
            for place, limit in limits[index].items():
                grey, most = self.with_less_memory(
                    lambda count, place=place, index=index, image=image: self._paint(  # type: ignore[misc]
                        model, index, image, place, count, images, turns
                    ),
                    range(most, 0, -1),
                    device,
                )
                found[place] = within(grey, limit)
                turns.next()
            yield index, present(self._support.labels, found, self._shape)

    def load(self, device: torch.device) -> InContextModel:
        """The model on its device."""
        checkpoint = self.checkpoint(MODEL)
        return _load(checkpoint, store.path_of(checkpoint), device)

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` unless the weights fit the network."""
        from .seggpt_network import InContextModel

        require_importable("torchvision", "transformers")
        with built_from(path):
            InContextModel(state)

    def _paint(
        self,
        model: InContextModel,
        index: int,
        image: np.ndarray,
        place: int,
        count: int,
        images: dict[int, np.ndarray],
        turns: Turns,
    ) -> np.ndarray:
        """Probability `[h, w]` of a label; half of it lies where the model paints its threshold."""
        from ..sam.network import resized
        from .seggpt_network import THRESHOLD, as_input, as_painting

        support = self._support
        prompts = []
        for row in self.nearest(index, place, count):
            if row not in images:
                images[row] = as_input(self._greys.rgb(support.indices[row]), model.side)
            mask = support.masks[row] == support.labels[place]
            prompts.append((images[row], as_painting(mask, model.side)))
        with self.precision(model.device):
            grey = model.paint(image, prompts, turns.within)
        probability: np.ndarray = resized((grey / (2 * THRESHOLD))[None], self._shape)[0].cpu().numpy()
        return probability

    def nearest(self, index: int, place: int, count: int) -> list[int]:
        """Labelled slices by number that show a label, nearest first, of two as near the one with more of it."""
        support = self._support
        label = support.labels[place]
        return sorted(
            self._extents.showing(place),
            key=lambda row: (abs(support.indices[row] - index), -int((support.masks[row] == label).sum())),
        )[:count]


@lru_cache(maxsize=1)
def _load(checkpoint: Checkpoint, path: Path, device: torch.device) -> InContextModel:
    """The model of a checkpoint, kept for the life of the process."""
    from .seggpt_network import InContextModel

    return build_model(checkpoint, path, ("torchvision", "transformers"), lambda state: InContextModel(state, device))
