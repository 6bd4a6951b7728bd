"""The floor of `adapt`: labels that engine `propagate` predicts clearly better on held-out slices come from it.

A network and fitted fusion weights can be worse than simpler candidates, as where the labels cannot be seen in the
images. `propagate` mixes in a copy of the nearest labelled slice, so the result is not clearly worse than that
either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..propagate.fusion import MIN_PROBABILITY
from ..propagate.mixing import HeldOutCounts, Mixture, MixtureChoice, MixtureSet, mix
from ..threads import map_all
from .candidates import CANDIDATES
from .config import AdaptConfig
from .fusion import HeldOutCandidates


@dataclass(frozen=True)
class PropagationFloor:
    """Mixes the fused logits of each label with those of propagation.

    Attributes
    ----------
    propagation : MixtureChoice
        Mixtures of the simple candidates, as in `propagate`.
    continuing, ending : float32 ndarrays, shape [labels, 2]
        Weights of the fused logits and of propagation; `ending` where only one neighbouring labelled slice shows the
        label, `continuing` where both or neither do and beyond the outermost labelled slices.
    config : AdaptConfig
    """

    propagation: MixtureChoice
    continuing: np.ndarray
    ending: np.ndarray
    config: AdaptConfig

    @classmethod
    def choose(
        cls,
        held_out: Sequence[HeldOutCandidates],
        fused: Sequence[np.ndarray],
        areas: np.ndarray,
        config: AdaptConfig,
    ) -> PropagationFloor:
        """The weights with the least error on held-out slices.

        Parameters
        ----------
        held_out : sequence of HeldOutCandidates
        fused : sequence of float ndarray, shape [labels + 1, h, w]
            Fused logits of each slice, with weights that were chosen without it; background is 0.
        areas : int ndarray, shape [labelled slices, labels]
            Pixels of each label on each labelled slice.
        config : AdaptConfig
        """
        labels = areas.shape[1]

        def simple_counts(held_out_slice: HeldOutCandidates) -> HeldOutCounts:
            return HeldOutCounts.of(
                _simple(held_out_slice.log_probs, held_out_slice.copied, config),
                held_out_slice.truth,
                held_out_slice.showing_neighbours,
                annotated=held_out_slice.annotated,
            )

        mixtures = _mixtures(config)
        usual = mixtures.best([], 2, labels)
        floor = cls(MixtureChoice.on(map_all(simple_counts, held_out), areas), usual, usual, config)
        if not config.fusion.floor:
            return floor

        def mixture_counts(position: int) -> HeldOutCounts:
            held_out_slice = held_out[position]
            propagated = floor._propagated(
                held_out_slice.log_probs, held_out_slice.copied, held_out_slice.showing_neighbours, False
            )
            return HeldOutCounts.of(
                [fused[position], propagated],
                held_out_slice.truth,
                held_out_slice.showing_neighbours,
                mixtures,
                held_out_slice.annotated,
            )

        counts = map_all(mixture_counts, range(len(held_out)))
        return cls(floor.propagation, mixtures.best(counts, 2, labels), mixtures.best(counts, 1, labels), config)

    def mixed(
        self,
        fused: np.ndarray,
        log_probs: np.ndarray,
        copied: np.ndarray,
        showing_neighbours: np.ndarray,
        beyond: bool,
    ) -> np.ndarray:
        """Logits of a slice, of which background is 0; `fused` itself if no label uses propagation.

        At each pixel the weights of the most probable foreground label are used for all labels, because the logits of
        two labels can only be compared if both come from the same predictions.

        Parameters
        ----------
        fused : float32 ndarray, shape [labels + 1, h, w]
        log_probs : float ndarray, shape [candidates, labels + 1, h, w]
        copied : integer ndarray, shape [h, w]
            Label index of each pixel of the nearest labelled slice.
        showing_neighbours : int ndarray, shape [labels]
            Number of neighbouring labelled slices, 0 to 2, that show each label.
        beyond : bool
            Whether the slice is before the first or after the last labelled slice.
        """
        weights = np.where((showing_neighbours == 1)[:, None] & (not beyond), self.ending, self.continuing)
        if not weights[:, 1].any():
            return fused
        propagated = self._propagated(log_probs, copied, showing_neighbours, beyond)
        share = weights[(fused + propagated)[1:].argmax(axis=0)]
        mixed: np.ndarray = share[..., 0] * fused + share[..., 1] * propagated
        return mixed

    def _propagated(
        self, log_probs: np.ndarray, copied: np.ndarray, showing_neighbours: np.ndarray, beyond: bool
    ) -> np.ndarray:
        """Log-odds of propagation, on the scale of the fused logits."""
        result = np.empty(log_probs.shape[1:], dtype=np.float32)
        mix(_simple(log_probs, copied, self.config), self.propagation.weights(showing_neighbours, beyond), result)
        result += MIN_PROBABILITY
        np.log(result, out=result)
        result -= result[0].copy()
        result *= np.float32(sum(self.config.fusion.default_weights[: len(log_probs)]))
        return result


def _mixtures(config: AdaptConfig) -> MixtureSet:
    """Mixtures of the fused logits and of propagation."""
    half_gain, full_gain = config.fusion.min_floor_gains
    return MixtureSet(
        (Mixture((1.0, 0.0), 0.0), Mixture((0.5, 0.5), half_gain), Mixture((0.0, 1.0), full_gain)),
        distance_exponents=(0.0, 0.0),
    )


def _simple(log_probs: np.ndarray, copied: np.ndarray, config: AdaptConfig) -> list[np.ndarray]:
    """Probabilities of the simple candidates, in the order of `propagate`: flow, copy, shape, growing."""
    flow, growing, shape = (
        np.maximum(np.exp(values, dtype=np.float32) - np.float32(least), 0)
        for values, least in zip(log_probs[: len(CANDIDATES)], config.candidates.min_probabilities, strict=True)
    )
    copy = (copied == np.arange(len(flow))[:, None, None]).astype(np.float32)
    return [flow, copy, shape, growing]
