"""Engines `persam` and `persam-f`: SAM prompted by the features of one labelled slice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...core.support import Support
from ...core.volume import Volume
from ..base import RunContext
from ..option import Option
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import joint_of_segmented, zero_outside
from ..pretrained.prompts import Box
from ..pretrained.slice_progress import SliceProgress
from .engine import CACHE, SAM_CHECKPOINTS, EmbeddingEngine

if TYPE_CHECKING:
    from torch import Tensor

    from .network import EmbeddedSlice
    from .persam_network import TargetFeatures

_OPTIONS: Mapping[str, Option] = {
    **checkpoint_options(SAM_CHECKPOINTS),
    "bounded": Option(True, "search only near the label's extent on the neighbouring labelled slices"),
    "intensities": INTENSITIES,
    "precision": PRECISION,
    "cache": CACHE,
}


class OneShotSam(EmbeddingEngine):
    """Base class of both engines: each label is segmented by the features of one labelled slice."""

    options: ClassVar[Mapping[str, Option]] = _OPTIONS
    licence = "MIT; weights Apache-2.0"

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Extract the features of the reference slices, then yield slice by slice."""
        limits = self.limits(slice_indices)
        references = {
            (label_index, self.reference(index, label_index))
            for index in slice_indices
            for label_index in limits[index]
        }
        progress = SliceProgress(self.context.report_progress, len(references) + len(slice_indices))
        for label_index, support_index in sorted(references, key=lambda reference: (reference[1], reference[0])):
            mask = self._support.masks[support_index] == self._support.labels[label_index]
            self.fit_reference(
                label_index,
                support_index,
                self.embed(self._support.indices[support_index], progress),
                mask,
                progress.report,
            )
            progress.finish()
        for index in slice_indices:
            results = {}
            if limits[index]:
                embedded = self.embed(index, progress)
                for label_index, limit in limits[index].items():
                    bound = limit if self.settings["bounded"] else None
                    logits = self.predict_logits(label_index, self.reference(index, label_index), embedded, bound)
                    probability: np.ndarray = logits.sigmoid().cpu().numpy()
                    results[label_index] = probability if bound is None else zero_outside(probability, bound)
                    progress.report(1.0)
            yield index, joint_of_segmented(self._support.labels, results, self._shape)
            progress.finish()

    def area(self, support_index: int, label_index: int) -> int:
        """Number of pixels of a label on a labelled slice."""
        return int((self._support.masks[support_index] == self._support.labels[label_index]).sum())

    @abstractmethod
    def reference(self, index: int, label_index: int) -> int:
        """Support index of the labelled slice that serves as reference for a label on a slice."""

    @abstractmethod
    def fit_reference(
        self,
        label_index: int,
        support_index: int,
        embedded: EmbeddedSlice,
        mask: np.ndarray,
        report: Callable[[float], None],
    ) -> None:
        """Extract the target features of a label from a labelled slice; `mask` is bool `[h, w]`."""

    @abstractmethod
    def predict_logits(
        self, label_index: int, support_index: int, embedded: EmbeddedSlice, limit: Box | None
    ) -> Tensor:
        """Logits `[h, w]` of a label on a slice, from the target features of a labelled slice."""


class PerSam(OneShotSam):
    """The reference is the nearest labelled slice that shows the label."""

    name = "persam"
    title = "PerSAM"
    summary = "SAM segments what resembles the labels of your nearest slice; no training."

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input."""
        super().prepare(volume, support, context)
        self._targets: dict[tuple[int, int], TargetFeatures] = {}

    def reference(self, index: int, label_index: int) -> int:
        """The nearest slice; of two equally near ones, the one with the larger area."""
        indices = self._support.indices
        support_indices = self._extents.slices_showing(label_index)
        return min(
            support_indices,
            key=lambda support_index: (abs(indices[support_index] - index), -self.area(support_index, label_index)),
        )

    def fit_reference(
        self,
        label_index: int,
        support_index: int,
        embedded: EmbeddedSlice,
        mask: np.ndarray,
        report: Callable[[float], None],
    ) -> None:
        """Extract the mean feature."""
        from .persam_network import target_features

        self._targets[label_index, support_index] = target_features(self.model(), embedded, mask)

    def predict_logits(
        self, label_index: int, support_index: int, embedded: EmbeddedSlice, limit: Box | None
    ) -> Tensor:
        """Most and least similar point with target-guided attention, then refinement by mask and box."""
        from .persam_network import persam

        return persam(self.model(), embedded, self._targets[label_index, support_index], limit)


class PerSamF(OneShotSam):
    """The reference is the labelled slice with the largest area of the label; two mask weights are fitted to it."""

    name = "persam-f"
    title = "PerSAM-F"
    summary = "As PerSAM, with the weights of SAM's three masks fitted to your slice."

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input."""
        super().prepare(volume, support, context)
        self._fitted: dict[tuple[int, int], tuple[TargetFeatures, Tensor]] = {}

    def reference(self, index: int, label_index: int) -> int:
        """The slice with the largest area, the same for all query slices, because each reference costs a fit."""
        return max(
            self._extents.slices_showing(label_index), key=lambda support_index: self.area(support_index, label_index)
        )

    def fit_reference(
        self,
        label_index: int,
        support_index: int,
        embedded: EmbeddedSlice,
        mask: np.ndarray,
        report: Callable[[float], None],
    ) -> None:
        """Fit the mask weights."""
        from .persam_network import fit_mask_weights, target_features

        target = target_features(self.model(), embedded, mask, blend_maximum=True)
        self._fitted[label_index, support_index] = (
            target,
            fit_mask_weights(self.model(), embedded, target, mask, report),
        )

    def predict_logits(
        self, label_index: int, support_index: int, embedded: EmbeddedSlice, limit: Box | None
    ) -> Tensor:
        """The most similar point and the weighted masks, then two refinements by box and mask."""
        from .persam_network import persam_f

        return persam_f(self.model(), embedded, *self._fitted[label_index, support_index], limit)
