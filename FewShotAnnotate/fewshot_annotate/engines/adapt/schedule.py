"""Length of the fits of `adapt`, the slices it refines, and its progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.support import Support
from .config import OrthogonalConfig, ScheduleConfig
from .neighbours import between


@dataclass(frozen=True)
class FitPlan:
    """Number of steps and time limits of the fits.

    Attributes
    ----------
    steps : int
        Steps of the network that is fitted on all labelled slices; the others get a fraction of them.
    slab : range or None
        Slices refined in the orthogonal views; None for no refinement.
    config : ScheduleConfig
    seconds : float, optional
        Time limit of the network with all labelled slices; the orthogonal views have what is left.
    """

    steps: int
    slab: range | None
    config: ScheduleConfig
    seconds: float | None = None

    def part(self, fraction: float) -> tuple[int, float | None]:
        """Steps and time limit of a network, as a fraction of those of the network with all labelled slices."""
        return max(1, round(self.steps * fraction)), None if self.seconds is None else fraction * self.seconds

    @property
    def orthogonal_work(self) -> float:
        """Work of the refinement in orthogonal views, in steps."""
        return 0.0 if self.slab is None else 2 * self.config.orthogonal_work * self.steps


def scaled_steps(steps: int, support: Support, config: ScheduleConfig) -> int:
    """Steps of the longest fit, of which many labels or labelled slices need more."""
    much = max(1.0, len(support.labels) / config.reference_labels, len(support.indices) / config.reference_slices)
    return round(steps * min(much, config.max_steps_factor))


def refined_slab(
    query: Sequence[int], support: Support, shape: tuple[int, int], config: OrthogonalConfig
) -> range | None:
    """Query slices, and labelled slices around them, to be refined in the orthogonal views.

    Slices outside of the labelled ones are left out, because their labels are too inaccurate to fit on.

    Parameters
    ----------
    query : sequence of int, ascending
    support : Support
    shape : (h, w)
        Of the window.
    config : OrthogonalConfig

    Returns
    -------
    range or None
        None if they are not consecutive, too few, or too large.
    """
    indices = support.indices
    inner = between(query, indices)
    if not inner or not config.enabled:
        return None
    labelled = [index for index in indices if inner[0] - 1 <= index <= inner[-1] + 1]
    known = sorted({*inner, *labelled})
    slab = range(known[0], known[-1] + 1)
    if not labelled or len(slab) != len(known) or len(slab) < config.min_slices:
        return None
    size = 2 * len(slab) * (2 * len(support.labels) + 2) * shape[0] * shape[1]
    return slab if size <= config.max_bytes else None


class ProgressCounter:
    """Reports the completed fraction of all work; `done` may be called from any thread."""

    def __init__(self, report: Callable[[float], None], total: float) -> None:
        self._report = report
        self._total = total
        self._done = 0.0
        self._lock = threading.Lock()

    def plan(self, amount: float) -> None:
        """Add to the total work."""
        self._total += amount

    def done(self, amount: float) -> None:
        """Add to the completed work and report progress."""
        with self._lock:
            self._done += amount
            self._report(min(1.0, self._done / max(self._total, 1)))
