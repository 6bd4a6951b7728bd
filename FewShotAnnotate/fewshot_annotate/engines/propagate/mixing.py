"""Choice of the mixture of simple candidates that fills each label, on held-out labelled slices.

Optical flow is the most accurate candidate on most images, a copy or an interpolated shape where the labels cannot be
seen in the images. So the default is a mixture in which flow has the largest weight. Another one is used if it is
clearly better on labelled slices that are predicted from their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Positions of the candidates in `MIXTURES`.
FLOW, COPY, SHAPE, GROWING = range(4)
# Gain in Dice that is required in addition to `Mixture.min_gain`. `ablation.py --parts propagate.mixing` compares it
# with 0 and 0.01, and the number of slices below with 10 and 40.
MIN_DICE_GAIN = 0.005
# Number of held-out slices with a label at which its own error and the mean error of all labels are weighted equally.
POOLING_SLICES = 20.0
# Number of held-out slices at which one candidate alone may replace the default mixture. On fewer, chance decides
# which one is best. `ablation.py --parts propagate.mixing` compares this with 1 and 5.
MIN_SLICES_FOR_ONE_CANDIDATE = 3


@dataclass(frozen=True)
class Mixture:
    """Weights of the candidates.

    Attributes
    ----------
    weights : tuple of float
        Weight of each candidate; their sum is 1.
    min_gain : float
        Minimum relative reduction of the error on held-out slices, compared with the default mixture.
    """

    weights: tuple[float, ...]
    min_gain: float


@dataclass(frozen=True)
class MixtureSet:
    """Mixtures of the same candidates to choose from.

    Attributes
    ----------
    mixtures : tuple of Mixture
        The default one first.
    distance_exponents : tuple of float
        The logarithm of the Dice of each candidate is proportional to distance ** exponent, where distance is that
        from the labelled slices; as long as errors are small, so are they. Held-out slices are twice as far away as
        query slices, so their errors are scaled down, more for a large exponent, but not those near 1.
    """

    mixtures: tuple[Mixture, ...]
    distance_exponents: tuple[float, ...]

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of the candidates in each mixture, float32 `[mixtures, candidates]`."""
        return np.array([mixture.weights for mixture in self.mixtures], dtype=np.float32)

    def best(self, held_out: Sequence[HeldOutCounts], neighbours: int, labels: int) -> np.ndarray:
        """Weights of the best mixture for each label, float32 `[labels, candidates]`.

        Evaluated on the held-out slices with `neighbours` neighbouring slices that show the label; without any,
        the default one. Few of them decide only between mixtures, none of which is one candidate alone.
        """
        weights: np.ndarray = self.weights[self._best_positions(held_out, neighbours, labels)]
        return weights

    def _best_positions(self, held_out: Sequence[HeldOutCounts], neighbours: int, labels: int) -> np.ndarray:
        """Position of the best mixture for each label that `neighbours` neighbouring slices show, int [labels]."""
        default = np.zeros(labels, dtype=int)
        if not held_out:
            return default
        is_shown = np.array([counts.showing_neighbours == neighbours for counts in held_out])
        correct = sum(counts.correct * is_used for counts, is_used in zip(held_out, is_shown, strict=True))
        sizes = sum(counts.sizes * is_used for counts, is_used in zip(held_out, is_shown, strict=True))
        is_evaluated = np.min(sizes, axis=0) > 0
        if not is_evaluated.any():
            return default
        error = 1 - 2 * correct[:, is_evaluated] / sizes[:, is_evaluated]
        mean = error.mean(axis=1, keepdims=True)
        slices_of_label = is_shown[:, is_evaluated].sum(axis=0)
        share = slices_of_label / (slices_of_label + POOLING_SLICES)
        errors = np.repeat(mean, labels, axis=1)
        errors[:, is_evaluated] = share * error + (1 - share) * mean
        errors = 1 - (1 - errors) ** 0.5 ** (self.weights @ np.array(self.distance_exponents))[:, None]
        required = np.array([[mixture.min_gain, MIN_DICE_GAIN * (mixture.min_gain > 0)] for mixture in self.mixtures])
        required_errors = errors / (1 - required[:, :1]) + required[:, 1:]
        if np.count_nonzero(is_shown.any(axis=1)) < MIN_SLICES_FOR_ONE_CANDIDATE:
            required_errors[1:][self.weights[1:].max(axis=1) == 1] = np.inf
        best: np.ndarray = required_errors.argmin(axis=0)
        return best


# The default mixture first. Copy and interpolated shape alone do not use the images, and region growing alone leaks
# through faint edges, so their gain must be larger: what is better on few held-out slices need not be better on query
# slices.
MIXTURES = MixtureSet(
    (
        Mixture((0.8, 0.0, 0.1, 0.1), 0.0),
        Mixture((0.6, 0.1, 0.15, 0.15), 0.1),
        Mixture((1.0, 0.0, 0.0, 0.0), 0.1),
        Mixture((0.5, 0.0, 0.25, 0.25), 0.1),
        Mixture((0.4, 0.0, 0.1, 0.5), 0.1),
        Mixture((0.0, 1.0, 0.0, 0.0), 0.2),
        Mixture((0.0, 0.0, 1.0, 0.0), 0.3),
        Mixture((0.0, 0.0, 0.0, 1.0), 0.3),
    ),
    distance_exponents=(0.6, 1.2, 1.2, 0.5),
)
# A label on a single labelled slice, with fewer pixels there, is the tip of a structure. It has no outline that could
# be propagated, so region growing fills it. `ablation.py --parts propagate.mixing` compares this with 15 and 60.
TIP_PIXELS = 30
_TIP = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class HeldOutCounts:
    """Pixel counts of a held-out slice for the Dice of every mixture.

    Attributes
    ----------
    correct, sizes : int ndarrays, shape [mixtures, labels]
        Correctly predicted pixels, and predicted pixels plus true pixels.
    showing_neighbours : int ndarray, shape [labels]
        Number of neighbouring labelled slices, 0 to 2, that show each label.
    """

    correct: np.ndarray
    sizes: np.ndarray
    showing_neighbours: np.ndarray

    @classmethod
    def of(
        cls,
        candidates: Sequence[np.ndarray],
        truth: np.ndarray,
        showing_neighbours: np.ndarray,
        mixtures: MixtureSet | None = None,
        annotated: np.ndarray | bool = True,
    ) -> HeldOutCounts:
        """Count the pixels of a held-out slice.

        Parameters
        ----------
        candidates : sequence of float ndarray, shape [labels + 1, h, w]
            Probabilities of each candidate, or logits of which background is 0.
        truth : integer ndarray, shape [h, w]
            True label index of each pixel.
        showing_neighbours : int ndarray, shape [labels]
        mixtures : MixtureSet, optional
            Default: those of `propagate`.
        annotated : bool ndarray, shape [labels], optional
            Labels that are judged, because they were painted on the slice. Default: all.
        """
        label_count = len(candidates[0])
        true_sizes = np.bincount(truth.reshape(-1), minlength=label_count)
        correct, sizes = [], []
        for weights in (mixtures or MIXTURES).weights:
            mixed = sum(weight * candidate for weight, candidate in zip(weights, candidates, strict=True) if weight)
            filled = np.asarray(mixed).argmax(axis=0)
            correct.append(np.bincount(filled[filled == truth], minlength=label_count))
            sizes.append(np.bincount(filled.reshape(-1), minlength=label_count) + true_sizes)
        return cls(np.array(correct)[:, 1:] * annotated, np.array(sizes)[:, 1:] * annotated, showing_neighbours)


@dataclass(frozen=True)
class MixtureChoice:
    """Weights of the candidates of each label.

    Attributes
    ----------
    continuing, ending : float32 ndarrays, shape [labels, 4]
        Weights where both neighbouring labelled slices show the label, and elsewhere.
    """

    continuing: np.ndarray
    ending: np.ndarray

    @classmethod
    def on(cls, held_out: Sequence[HeldOutCounts], areas: np.ndarray) -> MixtureChoice:
        """The mixtures with the least error on held-out slices.

        Parameters
        ----------
        held_out : sequence of HeldOutCounts
        areas : int ndarray, shape [labelled slices, labels]
            Pixels of each label on each labelled slice.
        """
        labels = areas.shape[1]
        ending = MIXTURES.best(held_out, 1, labels)
        ending[((areas > 0).sum(axis=0) == 1) & (areas.sum(axis=0) < TIP_PIXELS)] = _TIP
        return cls(MIXTURES.best(held_out, 2, labels), ending)

    def weights(self, showing_neighbours: np.ndarray, beyond: bool) -> np.ndarray:
        """Weights of the candidates on a slice, float32 `[labels, 4]`.

        Parameters
        ----------
        showing_neighbours : int ndarray, shape [labels]
            Number of neighbouring labelled slices, 0 to 2, that show each label.
        beyond : bool
            Whether the slice is before the first or after the last labelled slice: shape interpolation and region
            growing need labelled slices on both sides, so only flow or the copy is used.
        """
        if not beyond:
            return np.where((showing_neighbours == 2)[:, None], self.continuing, self.ending)
        copied = self.continuing[:, COPY] + self.continuing[:, SHAPE] > 0.5
        result = np.zeros_like(self.continuing)
        result[:, COPY], result[:, FLOW] = copied, ~copied
        return result


def mix(candidates: Sequence[np.ndarray | None], weights: np.ndarray, result: np.ndarray) -> None:
    """Mix the probabilities of the candidates, each float `[labels + 1, h, w]`; `result` gets probabilities.

    `weights` is `[labels, 4]`; a candidate without any weight may be None. `result` may be one of the candidates.
    """
    mixed = np.zeros_like(result[1:])
    for weight, candidate in zip(weights.T, candidates, strict=True):
        if candidate is not None and weight.any():
            mixed += weight[:, None, None] * candidate[1:]
    total = mixed.sum(axis=0)
    result[1:] = mixed
    np.subtract(1, total, out=result[0])
    np.maximum(result[0], 0, out=result[0])
    result /= np.maximum(total, 1)
