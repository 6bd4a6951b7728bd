"""Candidate predictions of query slices and of held-out slices: optical flow, region growing, shape interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...core.support import Support
from ...core.volume import Volume
from ..base import label_slice
from ..propagate.candidates import SimpleCandidates
from ..propagate.compared_images import ComparedImages
from ..propagate.contrast import Contrast
from ..propagate.flow_propagation import FlowPropagation
from ..propagate.region_growing import soften
from ..propagate.structure_keeping import Gap
from .config import CandidateConfig

CANDIDATES = ("propagation", "region growing", "shape interpolation")


class CandidatePool(SimpleCandidates):
    """Candidate predictions on one volume.

    Parameters
    ----------
    volume : Volume
    support : Support
        Every label must be annotated on every labelled slice, see `complete_support`.
    config : CandidateConfig
    flow : FlowPropagation, optional
        Propagation from the support. Default: a new one.
    precomputed : mapping of int to float16 ndarray, shape [len(labels) + 1, h, w], optional
        Results of propagation in the window by slice index, as from drafts.
    contrasts : sequence of Contrast, optional
        One for each of `channels`. Default: fitted to the labelled slices, also to those that are held out later.
    annotated : bool ndarray, shape [labelled slices, labels], optional
        Labels that were painted on each labelled slice, before `complete_support`. Default: all.
    """

    def __init__(
        self,
        volume: Volume,
        support: Support,
        config: CandidateConfig,
        flow: FlowPropagation | None = None,
        precomputed: Mapping[int, np.ndarray] | None = None,
        contrasts: Sequence[Contrast] | None = None,
        annotated: np.ndarray | None = None,
    ) -> None:
        flow = flow or FlowPropagation(volume, support)
        super().__init__(volume, flow, config.equalised_share, config.max_growing_side, contrasts)
        self.config = config
        self._precomputed = precomputed or {}
        self.annotated = support.annotated if annotated is None else annotated

    def candidates(self, query: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Predict query slices with every candidate, gap by gap.

        Yields
        ------
        index : int
        float32 ndarray, shape [len(CANDIDATES), len(labels) + 1, h, w]
            Log-probabilities in the window.
        """
        labels = self.support.labels
        for gap in self.support.gaps(query):
            grown = self.grown(gap.sides, gap.slices) if self.config.region_growing else {}
            for index, propagated in self._propagated(gap.slices):
                predictions: list[np.ndarray | None] = [
                    propagated,
                    soften(grown[index], labels) if grown else None,
                    self.interpolated(gap.sides, index) if self.config.shape_interpolation else None,
                ]
                yield index, self._log_probs(predictions)

    def _log_probs(self, predictions: Sequence[np.ndarray | None]) -> np.ndarray:
        """Log-probabilities of all candidates; one that is switched off is replaced by the first of the others."""
        replacement = next(probabilities for probabilities in predictions if probabilities is not None)
        result = np.empty((len(predictions), *replacement.shape), dtype=np.float32)
        for log_probs, probabilities in zip(result, predictions, strict=True):
            log_probs[...] = replacement if probabilities is None else probabilities
        result += np.array(self.config.min_probabilities, dtype=np.float32)[:, None, None, None]
        return np.log(result, out=result)

    def keep(self, index: int, probabilities: np.ndarray) -> None:
        """Apply `Gap.keep` to the probabilities `[labels + 1, h, w]` of a slice between labelled ones, in place."""
        if self.config.structure_keeping and (gap := self._around(index)) is not None:
            gap.keep(index, probabilities)

    def strengthen_unmatched(self, index: int, probabilities: np.ndarray) -> None:
        """Apply `Gap.strengthen_unmatched` to probabilities, as `keep`."""
        if self.config.structure_keeping and (gap := self._around(index)) is not None:
            gap.strengthen_unmatched(index, probabilities)

    def _around(self, index: int) -> Gap | None:
        around = self.support.around(index)
        return self.gap(*around) if len(around) == 2 else None

    def copy_for_thread(self) -> CandidatePool:
        """A copy for another thread, which shares the cached results of region growing."""
        flow = self._flow.subset(range(len(self.support.indices)))
        copy = CandidatePool(self._volume, self.support, self.config, flow, self._precomputed, self._contrasts)
        copy._grown = self._grown
        return copy

    def neighbours_of(self, support_index: int) -> CandidatePool:
        """Pool of only the neighbours of a labelled slice, given by support index, to predict it when held out."""
        flow = self._flow.subset(self.support.around(self.support.indices[support_index]))
        return CandidatePool(self._volume, flow.support, self.config, flow, contrasts=self._contrasts)

    def _propagated(self, query: Sequence[int]) -> Iterator[tuple[int, np.ndarray | None]]:
        """Results of propagation in the window, always rounded to float16 like the precomputed ones.

        None for each slice if propagation is switched off.
        """
        if not self.config.propagation:
            yield from ((index, None) for index in query)
            return
        if all(index in self._precomputed for index in query):
            yield from ((index, self._precomputed[index]) for index in query)
            return
        for index, probabilities in self._flow.predict(query):
            yield index, probabilities[(slice(None), *self.window)].astype(np.float16)


def complete_support(volume: Volume, support: Support, compared: ComparedImages) -> Support:
    """Propagate labels to the labelled slices on which they were not annotated.

    Painted pixels do not change. `compared` is that of `FlowPropagation`.
    """
    if support.annotated.all():
        return support
    masks = support.masks.copy()
    for support_index, index in enumerate(support.indices):
        missing = [
            label_index
            for label_index in range(len(support.labels))
            if not support.annotated[support_index, label_index]
        ]
        if missing:
            others = support.subset([other for other in range(len(support.indices)) if other != support_index])
            flow = FlowPropagation(volume, others, compared=compared)
            ((_, probabilities),) = flow.predict([index])
            propagated, _ = label_slice(probabilities, support.labels)
            filled = np.isin(propagated, [support.labels[label_index] for label_index in missing]) & (
                masks[support_index] == 0
            )
            masks[support_index][filled] = propagated[filled]
    return Support(support.axis, support.indices, masks, support.labels, np.ones_like(support.annotated))
