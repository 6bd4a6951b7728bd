"""Engine `nninteractive`: the labelled slices are prompts for a network that segments each label in 3D at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy

from ...core.bounding_box import bounding_box
from ...core.job import Device
from ...core.support import Support
from ...core.volume import Volume
from ...weights import store
from ...weights.catalog import Checkpoint
from ...weights.loading import read_json_object
from ..base import RunContext
from ..option import Option
from ..pretrained.architecture import architecture_errors, build_model
from ..pretrained.base import PretrainedEngine, checkpoint_options
from ..pretrained.joint_labels import joint_of_segmented, zero_outside
from ..pretrained.prompts import LabelExtents
from ..pretrained.slice_progress import SliceProgress
from .prompts import LabelPrompts, label_prompts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .network import PromptableModel, PromptedSession

MODEL, PLANS = "model", "plans"
CHECKPOINTS = {MODEL: ("nninteractive-v1",), PLANS: ("nninteractive-v1-plans",)}
# The number of passes of the network for a label is not known in advance, so each advances the progress by this
# fraction of the remaining distance.
PASS_FRACTION = 0.25
# Distance from the outline in pixels at which the probability of the label is 82 % (inside) or 18 % (outside).
CERTAIN_PIXELS = 2.0


class NnInteractive(PretrainedEngine):
    """Each label is segmented in the whole volume, prompted with all labelled slices at once.

    The painted label is the positive lasso, other labels nearby are the negative lasso, and lines in the background
    around the label are negative scribbles. Between labelled slices that do not show a label, the label is empty.
    """

    name = "nninteractive"
    title = "nnInteractive"
    summary = "Segments each label in 3D from all your slices at once. For non-commercial use only."
    licence = "Apache-2.0; weights CC-BY-NC-SA-4.0"
    devices = (Device.CPU, Device.CUDA)
    packages = ("nnInteractive",)
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = CHECKPOINTS
    options: ClassVar[Mapping[str, Option]] = {
        **checkpoint_options(CHECKPOINTS),
        "autozoom": Option(
            True, "zoom out to a coarser view where a label reaches the edge of the network's field of view"
        ),
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input."""
        super().prepare(volume, support, context)
        self._support = support
        self._slices = support.axis.slices(volume.array)
        self._extents = LabelExtents(support)
        self._masks: dict[int, _Mask] | None = None

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the slices in ascending order, after all labels were segmented in the whole volume."""
        if not slice_indices:
            return
        if self._masks is None:
            self._masks = self._segment_labels()
        shape = self._slices.shape[1], self._slices.shape[2]
        for index in sorted(set(slice_indices)):
            probabilities = {}
            for label_index, mask in self._masks.items():
                limit = self._extents.limit(index, label_index)
                if limit is not None:
                    probabilities[label_index] = zero_outside(certainty(mask.slice(index, shape)), limit)
            yield index, joint_of_segmented(self._support.labels, probabilities, shape)

    def load(self, device: torch.device) -> PromptableModel:
        """Load the model."""
        checkpoint, plans = self.checkpoint(MODEL), self.checkpoint(PLANS)
        return load_network(checkpoint, plans, store.path_of(checkpoint), device)

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless the tensors fit the network."""
        from .network import require_names

        with architecture_errors(path):
            require_names(state)

    def _segment_labels(self) -> dict[int, _Mask]:
        """Mask of each label that the labelled slices show, by label index."""
        prompts = {
            label_index: prompts_of_label
            for label_index in range(len(self._support.labels))
            if (prompts_of_label := label_prompts(self._support, label_index)) is not None
        }
        # The session raises an error for a volume of zeros.
        if not prompts or not self._slices.any():
            return {}
        device = self.choose_device()
        model = self.load(device)
        progress = SliceProgress(self.context.report_progress, len(prompts))
        progress.report(0)
        masks, _ = self.with_less_memory(lambda _: self._segment(model, prompts, progress), (1,), device)
        return masks

    def _segment(
        self, model: PromptableModel, prompts: Mapping[int, LabelPrompts], progress: SliceProgress
    ) -> dict[int, _Mask]:
        from .network import PromptedSession

        passes = _Passes(progress)
        session: PromptedSession = PromptedSession(model, self._slices, self.settings["autozoom"], passes.report)
        masks = {}
        for label_index, prompts_of_label in prompts.items():
            passes.begin()
            masks[label_index] = _Mask(session.segment(prompts_of_label))
            progress.finish()
        return masks


class _Passes:
    """Progress within a label, counted in passes of the network."""

    def __init__(self, progress: SliceProgress) -> None:
        self._progress = progress
        self._remaining = 1.0

    def begin(self) -> None:
        self._remaining = 1.0

    def report(self) -> None:
        self._remaining *= 1 - PASS_FRACTION
        self._progress.report(1 - self._remaining)


class _Mask:
    """A mask `[n, h, w]`, of which only the bounding box is kept in memory."""

    def __init__(self, mask: np.ndarray) -> None:
        self._box = bounding_box(mask) or (slice(0, 0),) * 3
        self._cropped = mask[self._box].copy()

    def slice(self, index: int, shape: tuple[int, int]) -> np.ndarray:
        """Slice `index`, bool `[h, w]`."""
        mask = np.zeros(shape, dtype=bool)
        if index in range(self._box[0].start, self._box[0].stop):
            mask[self._box[1:]] = self._cropped[index - self._box[0].start]
        return mask


def certainty(mask: np.ndarray) -> np.ndarray:
    """Probability that increases from the outside to the inside of a mask and is 0.5 at its outline.

    A pixel in which the masks of two labels overlap is thus assigned to the label in which it lies deeper.

    Parameters
    ----------
    mask : bool ndarray, shape [h, w]

    Returns
    -------
    float32 ndarray, shape [h, w]
        Zeros if the mask is empty.
    """
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.float32)
    if mask.all():
        return np.ones(mask.shape, dtype=np.float32)
    depth = scipy.ndimage.distance_transform_edt(mask) - scipy.ndimage.distance_transform_edt(~mask)
    probability: np.ndarray = scipy.special.expit(1.5 * depth / CERTAIN_PIXELS).astype(np.float32)
    return probability


@lru_cache(maxsize=1)
def load_network(checkpoint: Checkpoint, plans: Checkpoint, path: Path, device: torch.device) -> PromptableModel:
    """Load the model of a checkpoint; cached for the life of the process."""
    from .network import PromptableModel

    content = read_json_object(plans)
    return build_model(
        checkpoint,
        path,
        ("nnInteractive.inference.inference_session",),
        lambda state: PromptableModel(state, content, device),
    )
