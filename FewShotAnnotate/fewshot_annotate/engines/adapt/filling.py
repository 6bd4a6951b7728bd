"""Filling of query slices, one after the other, with fitted fusion weights and calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...core.gaps import neighbour_distances
from ..calibration.dice_expectation import DiceExpectation
from ..calibration.open_ends import lower_certainty, open_end_distances
from ..small_components import SmallestComponents, remove_small_components, remove_small_labels
from ..threads import ENGINE_THREADS, map_few
from .candidates import CandidatePool
from .config import AdaptConfig
from .fusion import LabelExtent
from .neighbours import nearest_and_extents
from .through_plane import ThroughPlaneSmoother
from .training import SupportFit


class SliceFiller:
    """Fuses, smooths and calibrates query slices.

    Parameters
    ----------
    pool : CandidatePool
    fit : SupportFit
    config : AdaptConfig
    to_be_blended : bool
        Whether the results will be blended with a specialist, which knows where structures end. If not, they are made
        less certain where labels of unknown extent may end.

    Attributes
    ----------
    expectation : DiceExpectation
        Expected Dice over the slices that `logits` has fused so far.
    """

    def __init__(
        self, pool: CandidatePool, fit: SupportFit, config: AdaptConfig, to_be_blended: bool = False
    ) -> None:
        self.expectation = DiceExpectation(fit.calibration)
        self._pool = pool
        self._fit = fit
        self._config = config
        self._to_be_blended = to_be_blended
        most = pool.areas.max(initial=0)
        self._smallest_areas = np.min(pool.areas, axis=0, where=pool.areas > 0, initial=most)
        indices, labels = pool.support.indices, len(pool.support.labels)
        self._smallest_components = SmallestComponents(
            lambda support_index: pool.label_indices(indices[support_index]), range(1, labels + 1)
        )

    def logits(self, query: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the fused and smoothed logits, float32 `[labels + 1, h, w]`, of query slices in ascending order."""
        pool = self._pool
        smoother = ThroughPlaneSmoother(
            pool.weighted, pool.label_indices, pool.support.indices, self._config.through_plane
        )
        for index, logits in _prefetched(self._fused(query)):
            # Before smoothing, because the calibration was fitted on held-out slices that were not smoothed.
            self._expect(index, logits)
            yield from smoother.add(index, logits)
        yield from smoother.finish()

    def probabilities(self, index: int, logits: np.ndarray, unrefined: np.ndarray | None = None) -> np.ndarray:
        """Probabilities in the window, float32 `[labels + 1, h, w]`; the most probable labels fill the slice.

        Dice thresholds, small components and unmatched structures are taken into account. With `unrefined`, the
        logits before the refinement in the orthogonal views, the refinement may change labels but makes none more
        certain: its networks were fitted on these very logits.
        """
        best = self.expectation.apply_dice_thresholds(self._calibrated(index, logits))
        best = self.without_small_components(index, best)
        self._pool.strengthen_unmatched(index, best)
        if unrefined is not None:
            before = self._calibrated(index, unrefined)
            overconfident = (before.argmax(axis=0) == best.argmax(axis=0)) & (before.max(axis=0) < best.max(axis=0))
            best = np.where(overconfident, before, best)
        return best if self._to_be_blended else self._with_less_certain_ends(index, best)

    def finished(
        self,
        query: Sequence[int],
        refined: Callable[[int], np.ndarray],
        unrefined: Callable[[int], np.ndarray],
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the `probabilities` of slices; the functions return the logits of a slice by index."""

        def finish(index: int) -> np.ndarray:
            return self.probabilities(index, refined(index), unrefined(index))

        with ThreadPoolExecutor(ENGINE_THREADS) as threads:
            yield from zip(query, map_few(threads, finish, query), strict=True)

    def without_small_components(self, index: int, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities of a query slice, float `[labels + 1, h, w]`, without components that are too small."""
        if not self._config.labelling.small_components:
            return probabilities
        result = remove_small_labels(probabilities, self._smallest_areas, self._config.labelling.min_pixels)
        remove_small_components(result, self._smallest_components.around(self._pool.support.around(index)))
        return result

    def _fused(self, query: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index, log_probs in self._pool.candidates(query):
            log_probs = self._fit.network.join(log_probs, index)
            fused = self._fit.weights.fuse(log_probs, *self._around(index))
            yield index, self._with_floor(index, fused, log_probs)

    def _with_floor(self, index: int, fused: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """The fused logits, mixed with or replaced by those of propagation for labels that it predicts better."""
        support = self._pool.support
        around = list(support.around(index))
        nearest = support.nearest_around(index)[0]
        showing_neighbours = (self._pool.areas[around] > 0).sum(axis=0)
        copied = self._pool.label_indices(support.indices[nearest])
        return self._fit.floor.mixed(fused, log_probs, copied, showing_neighbours, beyond=len(around) == 1)

    def _around(self, index: int) -> tuple[int, np.ndarray]:
        """Number of slices to the nearest labelled slice, and the extent of each label."""
        pool, tip_pixels = self._pool, self._config.candidates.tip_pixels
        reliable = self._fit.growing_is_reliable
        return nearest_and_extents(pool.support.indices, pool.areas, index, reliable, tip_pixels)

    def _expect(self, index: int, logits: np.ndarray) -> None:
        self.expectation.add(self._calibrated(index, logits), self._open_ended(index))

    def _with_less_certain_ends(self, index: int, probabilities: np.ndarray) -> np.ndarray:
        distances = open_end_distances(index, self._pool.support.indices, self._pool.areas > 0)
        half_distance = self._config.calibration.open_end_half_distance
        return lower_certainty(probabilities, self._open_ended(index), distances, half_distance)

    def _open_ended(self, index: int) -> np.ndarray:
        """Whether the extent of each label is unknown on a query slice, bool `[labels]`."""
        labelled = self._pool.support.indices
        _, extents = self._around(index)
        outside = index < labelled[0] or index > labelled[-1]
        open_ended: np.ndarray = outside | (extents != LabelExtent.CONTINUES)
        return open_ended

    def _calibrated(self, index: int, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, with structures that both neighbouring labelled slices show."""
        probabilities = self._fit.calibration.probabilities(
            logits, neighbour_distances(index, self._pool.support.indices)
        )
        self._pool.keep(index, probabilities)
        return probabilities


def _prefetched(items: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the same items, each computed in a thread while the previous one is processed."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item
