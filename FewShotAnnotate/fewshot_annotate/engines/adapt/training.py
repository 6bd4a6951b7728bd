"""Fits of `adapt` on the labelled slices: networks by cross-validation, and what is fitted to held-out slices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import scipy

from ...core.gaps import neighbour_distances
from ...core.support import Support
from ..calibration.temperature import Calibration, HeldOutPrediction
from ..progress_counter import ProgressCounter
from ..threads import ENGINE_THREADS
from .candidates import CANDIDATES, CandidatePool
from .config import CandidateConfig, FusionConfig, NetworkConfig
from .expected_time import AdaptTime
from .floor import PropagationFloor
from .fusion import FusionWeights, HeldOutCandidates, WeightingCounts, default_weights
from .fusion_fit import JudgedSlice, fit_fusion
from .held_out import held_out_folds, held_out_indices, scored_indices
from .neighbours import between, labelled_around, nearest_and_extents, spread
from .schedule import FitPlan

if TYPE_CHECKING:
    from .network import FittedNetwork
    from .stack import Stack, TrainingSlice

# The network fitted on all labelled slices, whether region growing is reliable, and the held-out slices of each fold.
_Judged: TypeAlias = "tuple[OptionalNetwork, bool, list[list[JudgedSlice]]]"


@dataclass(frozen=True)
class OptionalNetwork:
    """A fitted network as a further candidate, or none.

    Attributes
    ----------
    config : FusionConfig
    fitted : FittedNetwork or None
    """

    config: FusionConfig
    fitted: FittedNetwork | None = None

    def join(self, log_probs: np.ndarray, index: int) -> np.ndarray:
        """Append the weighted prediction of the network, if any, to those of the candidates.

        Log-probabilities, float32 `[candidates, labels + 1, h, w]`, of the slice with this index.
        """
        if self.fitted is None:
            return log_probs
        predicted = self.fitted.predict(index, default_prediction(log_probs, self.config))
        return np.concatenate([log_probs, np.float32(self.fitted.fusion_weight) * predicted[None]])


@dataclass(frozen=True, kw_only=True)
class SupportFit:
    """Results of `fit_support`.

    Attributes
    ----------
    network : OptionalNetwork
    weights : FusionWeights
    floor : PropagationFloor
    calibration : Calibration
    growing_is_reliable : bool
        Whether region growing fills labels that end about as accurately as propagation.
    held_out : sequence of HeldOutPrediction
        The fused result on held-out labelled slices, each with weights that were chosen without that slice.
    """

    network: OptionalNetwork
    weights: FusionWeights
    floor: PropagationFloor
    calibration: Calibration
    growing_is_reliable: bool
    held_out: Sequence[HeldOutPrediction]


@dataclass(frozen=True)
class NetworkInput:
    """What networks are fitted with.

    Attributes
    ----------
    plan : FitPlan
    stack : Stack
        Their input slices.
    seed : int
    """

    plan: FitPlan
    stack: Stack
    seed: int


def fit_support(
    pool: CandidatePool,
    query: Sequence[int],
    networks: NetworkInput | None,
    work: ProgressCounter,
    times: AdaptTime,
) -> SupportFit:
    """Fit a network, fusion weights and calibration on the labelled slices.

    Parameters
    ----------
    pool : CandidatePool
    query : sequence of int
        Slices to fill.
    networks : NetworkInput or None
        None for no network.
    work : ProgressCounter
        The work that is counted here is planned already.
    times : AdaptTime
        Expected time of each part of the work, and the settings.
    """
    validation = _CrossValidation(pool, None if networks is None else networks.stack, work, times)
    with ThreadPoolExecutor(ENGINE_THREADS) as threads:
        if networks is None:
            network, reliable, judged = validation.of_candidates(threads)
        else:
            network, reliable, judged = validation.of_networks(query, networks, threads)
    candidates = len(CANDIDATES) + (networks is not None)
    weights, floor, calibration, fused = fit_fusion(judged, candidates, pool, times.config)
    return SupportFit(
        network=network,
        weights=weights,
        floor=floor,
        calibration=calibration,
        growing_is_reliable=reliable,
        held_out=fused,
    )


class _CrossValidation:
    """Predictions of held-out slices, by the candidates and by networks fitted without these slices."""

    def __init__(self, pool: CandidatePool, stack: Stack | None, work: ProgressCounter, times: AdaptTime) -> None:
        self._pool = pool
        self._stack = stack
        self._work = work
        self._times = times
        self._propagation = pool.expected_propagation
        self._config = times.config

    def of_candidates(self, threads: ThreadPoolExecutor) -> _Judged:
        """Held-out slices judged without a network; each is a fold of its own."""
        held_out, _ = self._slices(held_out_indices(self._pool, self._config.held_out, with_network=False), threads)
        network = OptionalNetwork(self._config.fusion)
        reliable = _growing_is_reliable(held_out, self._pool, self._config.candidates)
        judged = [[self._judged(held_out, reliable, network, support_index)] for support_index in held_out]
        return network, reliable, judged

    def of_networks(self, query: Sequence[int], networks: NetworkInput, threads: ThreadPoolExecutor) -> _Judged:
        """A network fitted on all labelled slices, and each fold judged with a network that is fitted without it."""
        config, support = self._config, self._pool.support
        in_gaps = [gap.slices for gap in support.gaps(_soft_targets(query, support, config.network))]
        soft_examples = threads.map(self._soft_examples, in_gaps)
        held_out, examples = self._slices(held_out_indices(self._pool, config.held_out, with_network=True), threads)
        reliable = _growing_is_reliable(held_out, self._pool, config.candidates)
        examples += chain(*soft_examples)
        fitting = _NetworkFits(networks, examples, support, self._work, self._times)
        folds = held_out_folds(support, config.held_out)
        fits = [threads.submit(fitting.fit, number, fold) for number, fold in enumerate([[], *folds])]
        judging = []
        for fold, fitted in zip(folds, fits[1:], strict=True):
            judge = partial(self._judged, held_out, reliable, fitted.result())
            judging.append(threads.map(judge, [index for index in fold if index in held_out]))
        judged = [list(of_fold) for of_fold in judging]
        return fits[0].result(), reliable, judged

    def _slices(
        self, support_indices: Sequence[int], threads: ThreadPoolExecutor
    ) -> tuple[dict[int, np.ndarray], list[TrainingSlice]]:
        """Candidates of held-out slices that are scored, by support index, and training slices for a network."""
        scored = scored_indices(support_indices, self._pool, self._config.held_out)
        held_out: dict[int, np.ndarray] = {}
        examples: list[TrainingSlice] = []
        for support_index, (log_probs, example) in zip(
            support_indices, threads.map(partial(self._slice, scored), support_indices), strict=True
        ):
            held_out |= {support_index: log_probs} if log_probs is not None else {}
            examples += [example] if example is not None else []
        return held_out, examples

    def _slice(self, scored: Collection[int], support_index: int) -> tuple[np.ndarray | None, TrainingSlice | None]:
        index = self._pool.support.indices[support_index]
        neighbours = self._pool.neighbours_of(support_index)
        ((_, found),) = neighbours.candidates([index])
        log_probs = found.astype(np.float16)
        self._work.done(self._propagation.growing(neighbours.support, index) + self._times.example)
        kept = log_probs if support_index in scored else None
        if self._stack is None:
            return kept, None
        prior = default_prediction(log_probs, self._config.fusion)
        return kept, self._stack.example(index, self._pool.one_hot(support_index), prior, True)

    def _soft_examples(self, gap: Sequence[int]) -> list[TrainingSlice]:
        """Training slices whose targets are the fused candidates of query slices in one gap."""
        assert self._stack is not None
        examples = []
        for index, log_probs in self._pool.copy_for_thread().candidates(gap):
            fused = default_prediction(log_probs, self._config.fusion)
            examples.append(self._stack.example(index, fused, fused, False))
            self._work.done(self._times.example)
        return examples

    def _judged(
        self, held_out: Mapping[int, np.ndarray], reliable: bool, network: OptionalNetwork, support_index: int
    ) -> JudgedSlice:
        """Predictions of a scored slice, from the candidates and a network fitted without it."""
        tip_pixels = self._config.candidates.tip_pixels
        log_probs = held_out[support_index]
        predicted = held_out_candidates(log_probs, support_index, self._pool, network, reliable, tip_pixels)
        self._work.done(self._times.evaluation)
        return predicted, WeightingCounts.of(predicted, self._config.fusion)


@dataclass(frozen=True)
class _NetworkFits:
    """Fits of networks, each without the slices of one fold, or with all."""

    networks: NetworkInput
    examples: Sequence[TrainingSlice]
    support: Support
    work: ProgressCounter
    times: AdaptTime

    def fit(self, number: int, fold: Sequence[int]) -> OptionalNetwork:
        """Fit a network on all training slices that do not depend on the labels of a fold, by support index."""
        from .fitting import fit

        indices = self.support.indices
        unseen = {indices[support_index] for support_index in fold}
        seen = [example for example in self.examples if unseen.isdisjoint(labelled_around(example.index, indices))]
        config = self.times.config
        steps, seconds = self.networks.plan.share(config.schedule.held_out_share if fold else 1.0)
        seed = self.networks.seed * (config.held_out.folds + 1) + number
        expected = self.times.fit(steps, seconds)

        def done(fraction: float) -> None:
            self.work.done(fraction * expected)

        return OptionalNetwork(config.fusion, fit(self.networks.stack, seen, steps, seed, done, seconds))


def _growing_is_reliable(held_out: Mapping[int, np.ndarray], pool: CandidatePool, config: CandidateConfig) -> bool:
    """Whether region growing is about as accurate as propagation on labels that end next to a held-out slice."""
    support = pool.support
    shown = pool.areas > 0
    dice = []
    for candidate in (CANDIDATES.index("propagation"), CANDIDATES.index("region growing")):
        correct, size = np.zeros((2, len(support.labels) + 1))
        for support_index, log_probs in held_out.items():
            around = support.around(support.indices[support_index])
            extents = np.append(False, (shown[around[0]] ^ shown[around[-1]]) & pool.annotated[support_index])
            truth, filled = pool.label_indices(support.indices[support_index]), log_probs[candidate].argmax(axis=0)
            true, predicted, hits = (
                np.bincount(label_indices.reshape(-1), minlength=len(extents))
                for label_indices in (truth, filled, truth[truth == filled])
            )
            correct += 2 * hits * extents
            size += (true + predicted) * extents
        dice.append(float((correct[size > 0] / size[size > 0]).mean()) if size.any() else 0.0)
    return dice[1] > max(0.0, dice[0] - config.growing_dice_tolerance)


def held_out_candidates(
    log_probs: np.ndarray,
    support_index: int,
    pool: CandidatePool,
    network: OptionalNetwork,
    growing_is_reliable: bool,
    tip_pixels: int,
) -> HeldOutCandidates:
    """Predictions of a held-out slice, by support index, from the candidates and a network fitted without it."""
    support = pool.support
    index = support.indices[support_index]
    other_indices = [other for other in range(len(support.indices)) if other != support_index]
    others = [support.indices[other] for other in other_indices]
    around = [support_index - 1, support_index + 1]
    nearest = support.nearest_around(index)[0]
    return HeldOutCandidates(
        log_probs=network.join(log_probs, index).astype(np.float16),
        truth=pool.label_indices(index),
        distances=neighbour_distances(index, others),
        extents=nearest_and_extents(others, pool.areas[other_indices], index, growing_is_reliable, tip_pixels)[1],
        copied=pool.label_indices(support.indices[nearest]),
        showing_neighbours=(pool.areas[around] > 0).sum(axis=0),
        annotated=pool.annotated[support_index],
    )


def _soft_targets(query: Sequence[int], support: Support, config: NetworkConfig) -> list[int]:
    return spread(between(query, support.indices), config.max_soft_targets) if config.soft_targets else []


def default_prediction(log_probs: np.ndarray, config: FusionConfig) -> np.ndarray:
    """Probabilities, float32 `[labels + 1, h, w]`, of the candidates fused with the default weights."""
    fused = default_weights(len(log_probs), log_probs.shape[1] - 1, config).fuse(log_probs, 1)
    probabilities: np.ndarray = scipy.special.softmax(fused, axis=0)
    return probabilities
