"""Optical-flow propagation mixed with simpler candidates, calibrated, with an expected Dice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ...core.expected_dice import ExpectedDice
from ...core.gaps import neighbour_distances
from ...core.volume import Volume
from ..calibration.config import CalibrationConfig, ExpectedDiceConfig, LabellingConfig
from ..calibration.dice_expectation import DiceExpectation
from ..calibration.open_ends import lower_certainty, open_end_distances
from ..calibration.temperature import Calibration, Distances, HeldOutPrediction
from ..progress_counter import ProgressCounter
from ..small_components import SmallestComponents, remove_small_components
from ..threads import ENGINE_THREADS
from .candidates import SimpleCandidates
from .flow_propagation import FlowPropagation
from .mixing import COPY, GROWING, SHAPE, HeldOutCounts, MixtureChoice, mix
from .outline_smoothing import outline_sigmas, smooth_outlines
from .region_growing import soften

# Share of the labelled slices between the outermost that is held out, and the limits of their number. More take more
# time before the first query slice. `ablation.py --parts propagate.fusion` compares these and `MIN_PROBABILITY`
# with smaller and larger values.
HELD_OUT_SHARE = 1 / 3
MIN_HELD_OUT, MAX_HELD_OUT = 3, 8
# Below this probability, a label of unknown extent does not make the background uncertain.
MIN_OPEN_ENDED_PROBABILITY = 0.05
# Added to probabilities before their logarithm.
MIN_PROBABILITY = 1e-3


@dataclass(frozen=True, kw_only=True)
class PropagateConfig:
    """Settings of calibration; those given here differ from `adapt`."""

    # A standard deviation of 0.25, as in `adapt`, was not tried.
    calibration: CalibrationConfig = field(default_factory=lambda: CalibrationConfig(inverse_temperature_log_sd=0.5))
    # The temperature is fitted on the same held-out slices, so little correction is needed. Tried: factors 0.9 to 1.2
    # and shares 0 to 0.5, on eight cases with every 4th, 8th and 16th slice labelled.
    expected_dice: ExpectedDiceConfig = field(
        default_factory=lambda: ExpectedDiceConfig(min_probability=0.01, log_odds_factor=1.1, correction_share=0.15)
    )
    labelling: LabellingConfig = field(default_factory=lambda: LabellingConfig(dice_thresholds=False))


class FusedPropagation:
    """Fills query slices with the mixture of candidates that is best on held-out labelled slices.

    With fewer than two labelled slices, or labels that are not annotated on each of them, it is optical flow alone.

    Parameters
    ----------
    volume : Volume
    flow : FlowPropagation
    work : ProgressCounter
        Counts the work on held-out slices, which is planned here, and on the candidates of query slices, which is
        planned already.
    """

    def __init__(self, volume: Volume, flow: FlowPropagation, work: ProgressCounter) -> None:
        self._volume = volume
        self._flow = flow
        self._work = work
        self._support = flow.support
        self._simple = SimpleCandidates(volume, flow)
        self._is_present = self._simple.areas > 0
        masks = map(self._simple.mask, range(len(self._support.indices)))
        self._sigmas = outline_sigmas(masks, self._support.labels)
        self._gap: tuple[int, ...] = ()
        self._smallest = SmallestComponents(self._simple.mask, self._support.labels)
        complete = bool(self._support.annotated.all()) and len(self._support.indices) > 1
        held_out = self._held_out() if complete else []
        self._choice = (
            MixtureChoice.on([predicted.counts() for predicted in held_out], self._simple.areas) if complete else None
        )
        self._calibration = Calibration.fit([self._mixed(predicted) for predicted in held_out], PropagateConfig())
        self._expectation = DiceExpectation(self._calibration)
        work.done(len(held_out) * flow.expected_time.evaluation)

    def predict(self, query: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield query slices gap by gap, as engines do."""
        for index, probabilities in self._flow.predict(query, self._fuse):
            inside = probabilities[(slice(None), *self._flow.window)]
            remove_small_components(inside, self._smallest.around(self._support.around(index)))
            self._expectation.add(inside, self._open_ended(index))
            if len(self._support.around(index)) == 1:
                # Between labelled slices, optical flow is uncertain where it ends a structure.
                half_distance = self._calibration.config.calibration.open_end_half_distance
                distances = open_end_distances(index, self._support.indices, self._is_present)
                inside[...] = lower_certainty(inside, self._open_ended(index), distances, half_distance)
            self._work.done(self._flow.expected_time.candidates)
            yield index, probabilities

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label over the slices predicted so far."""
        return self._expectation.expected(self._support.labels)

    def _fuse(self, index: int, probabilities: np.ndarray) -> None:
        """Mix the candidates into the probabilities of flow, in place, and calibrate them."""
        around = self._support.around(index)
        if around != self._gap:
            self._simple.release()
            self._gap = around
        if self._choice is not None:
            weights = self._choice.weights(self._showing_neighbours(around), beyond=len(around) == 1)
            mix(
                _candidates(self._simple, index, probabilities, np.any(weights, axis=0).tolist()),
                weights,
                probabilities,
            )
        smooth_outlines(probabilities, self._sigmas)
        logits = np.log(probabilities + np.float32(MIN_PROBABILITY))
        calibrated = self._calibration.probabilities(logits, neighbour_distances(index, self._support.indices))
        uncertain = _background_where_labels_may_continue(probabilities, self._open_ended(index))
        np.copyto(probabilities, calibrated, where=~uncertain)

    def _showing_neighbours(self, around: Sequence[int]) -> np.ndarray:
        """Number of these labelled slices, given by support index, that show each label."""
        showing_neighbours: np.ndarray = self._is_present[list(around)].sum(axis=0)
        return showing_neighbours

    def _open_ended(self, index: int) -> np.ndarray:
        around = self._support.around(index)
        open_ended: np.ndarray = (self._showing_neighbours(around) == 1) | (len(around) == 1)
        return open_ended

    def _held_out(self) -> list[HeldOutLabels]:
        """Candidates of labelled slices, predicted from their neighbours."""
        inner = range(1, len(self._support.indices) - 1)
        count = min(max(MIN_HELD_OUT, round(HELD_OUT_SHARE * len(inner))), MAX_HELD_OUT, len(inner))
        held_out_indices = [inner[int((number + 0.5) * len(inner) / count)] for number in range(count)]
        expected = self._flow.expected_time
        self._work.plan(len(held_out_indices) * (expected.candidates + expected.evaluation))
        for support_index in held_out_indices:
            index = self._support.indices[support_index]
            around = self._support.subset((support_index - 1, support_index + 1))
            self._work.plan(expected.of(around, [index]) + expected.growing(around, index))

        def predict(support_index: int) -> HeldOutLabels:
            self._work.done(0)
            index, around = self._support.indices[support_index], (support_index - 1, support_index + 1)
            simple = self._simple.subset(around)
            ((_, propagated),) = self._flow.subset(around).predict([index])
            candidates = _candidates(simple, index, propagated[(slice(None), *self._flow.window)], (True,) * 4)
            self._work.done(expected.candidates + expected.growing(simple.support, index))
            distances = (
                index - self._support.indices[support_index - 1],
                self._support.indices[support_index + 1] - index,
            )
            return HeldOutLabels(
                [candidate.astype(np.float16) for candidate in candidates if candidate is not None],
                self._simple.label_indices(index),
                self._showing_neighbours(around),
                distances,
            )

        with ThreadPoolExecutor(ENGINE_THREADS) as threads:
            return list(threads.map(predict, held_out_indices))

    def _mixed(self, held_out: HeldOutLabels) -> HeldOutPrediction:
        """Prediction of a held-out slice by the chosen mixture."""
        assert self._choice is not None
        result = np.empty(held_out.candidates[0].shape, dtype=np.float32)
        mix(held_out.candidates, self._choice.weights(held_out.showing_neighbours, beyond=False), result)
        smooth_outlines(result, self._sigmas)
        logits = np.log(result + np.float32(MIN_PROBABILITY))
        return HeldOutPrediction(logits, held_out.truth, held_out.distances, held_out.showing_neighbours == 1)


@dataclass(frozen=True)
class HeldOutLabels:
    """Candidates of a held-out slice, and its true labels.

    Attributes
    ----------
    candidates : list of float16 ndarray, shape [labels + 1, h, w]
    truth : integer ndarray, shape [h, w]
        True label index of each pixel.
    showing_neighbours : int ndarray, shape [labels]
        Number of neighbouring labelled slices, 0 to 2, that show each label.
    distances : (int, int)
        Number of slices to these labelled slices.
    """

    candidates: list[np.ndarray]
    truth: np.ndarray
    showing_neighbours: np.ndarray
    distances: Distances

    def counts(self) -> HeldOutCounts:
        """Pixel counts of every mixture."""
        return HeldOutCounts.of(self.candidates, self.truth, self.showing_neighbours)


def _background_where_labels_may_continue(probabilities: np.ndarray, open_ended: np.ndarray) -> np.ndarray:
    """Pixels of the background, bool `[h, w]`, where labels of unknown extent are probable.

    They are not calibrated: the confidence of the background follows there from the distance to the labelled slices.
    """
    probable = probabilities[1:][open_ended].sum(axis=0) >= MIN_OPEN_ENDED_PROBABILITY
    uncertain: np.ndarray = probable & (probabilities.argmax(axis=0) == 0)
    return uncertain


def _candidates(
    simple: SimpleCandidates, index: int, propagated: np.ndarray, needed: Sequence[bool]
) -> list[np.ndarray | None]:
    """Probabilities of a slice from each candidate, in the order of mixtures; `propagated` are those of flow."""
    around = simple.support.around(index)
    labels = simple.support.labels
    return [
        propagated,
        simple.nearest_copy(index) if needed[COPY] else None,
        simple.interpolated(around, index) if needed[SHAPE] else None,
        soften(simple.grown_slice(index), labels) if needed[GROWING] else None,
    ]
