"""Length of the fits of `adapt`, the slices it refines, and its progress."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.support import Support
from .config import AdaptConfig, NetworkConfig, OrthogonalConfig, ScheduleConfig
from .neighbours import between

# Time of a step of a fit that does not depend on its pixels, expressed in pixels. The prediction of a plane and the
# last processing of a slice take these fractions of a step. Estimated from the times of each stage on three cases;
# they affect the reported progress and the plan of time limits only.
OVERHEAD_PIXELS = 1600
PREDICTION_STEPS = 0.08
FINISHING_STEPS = 0.2
# The same of the prediction of a specialist: four networks, fine-tuned in 20 steps of three passes.
SPECIALIST_STEPS = 100


@dataclass(frozen=True)
class OrthogonalWork:
    """Work of the refinement in both orthogonal views, in steps of the network that fills the slices.

    Attributes
    ----------
    fits : float
        Work of fitting both networks.
    predictions : float
        Work of predicting all planes.
    """

    fits: float = 0.0
    predictions: float = 0.0

    @property
    def total(self) -> float:
        """Work of fits and predictions."""
        return self.fits + self.predictions

    @property
    def share_of_fits(self) -> float:
        """Fraction of the work, 0..1, that is in the fits."""
        return self.fits / self.total if self.total else 0.0


@dataclass(frozen=True)
class FitPlan:
    """Number of steps and time limits of the fits.

    Attributes
    ----------
    steps : int
        Steps of the network that is fitted on all labelled slices; the others get a fraction of them.
    slab : range or None
        Slices refined in the orthogonal views; None for no refinement.
    orthogonal : OrthogonalWork
    config : ScheduleConfig
    seconds : float, optional
        Time limit of the network with all labelled slices; the remaining time is for the orthogonal views.
    """

    steps: int
    slab: range | None
    orthogonal: OrthogonalWork
    config: ScheduleConfig
    seconds: float | None = None

    def share(self, fraction: float) -> tuple[int, float | None]:
        """Steps and time limit of a network, as a fraction of those of the network with all labelled slices."""
        return max(1, round(self.steps * fraction)), None if self.seconds is None else fraction * self.seconds


def scaled_steps(steps: int, support: Support, config: ScheduleConfig) -> int:
    """Steps of the longest fit; many labels or labelled slices need more."""
    factor = max(1.0, len(support.labels) / config.reference_labels, len(support.indices) / config.reference_slices)
    return round(steps * min(factor, config.max_steps_factor))


def refined_slab(
    query: Sequence[int], support: Support, shape: tuple[int, int], config: OrthogonalConfig
) -> range | None:
    """Query slices, and labelled slices around them, to be refined in the orthogonal views.

    Slices beyond the outermost labelled ones are left out, because their labels are too inaccurate to fit on.

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
    filled = sorted({*inner, *labelled})
    slab = range(filled[0], filled[-1] + 1)
    if not labelled or len(slab) != len(filled) or len(slab) < config.min_slices:
        return None
    size = 2 * len(slab) * (2 * len(support.labels) + 2) * shape[0] * shape[1]
    return slab if size <= config.max_bytes else None


def network_size(shape: Sequence[int], stretch: Sequence[float], config: NetworkConfig) -> tuple[int, ...]:
    """Size of the input of a network for a window `[h, w]` that is stretched by a factor per side."""
    sides = [side * factor for side, factor in zip(shape, stretch, strict=True)]
    scale = min(1.0, config.longest_side / max(sides))
    return tuple(max(8, round(side * scale)) for side in sides)


def stretch_factor(spacing: Sequence[float], config: OrthogonalConfig) -> float:
    """Factor by which orthogonal planes are enlarged along the stack, from the spacing in mm, of the slices first."""
    slice_spacing, *pixel = spacing
    return float(min(max(round(slice_spacing / min(pixel)), 1), config.max_stretch))


def orthogonal_work(
    slab: range | None, shape: tuple[int, int], spacing: Sequence[float], steps: int, config: AdaptConfig
) -> OrthogonalWork:
    """Estimated work of the refinement in orthogonal views.

    Parameters
    ----------
    slab : range or None
    shape : (h, w)
        Of the window.
    spacing : sequence of float
        In mm, of the slices first.
    steps : int
        Of each fit.
    config : AdaptConfig
    """
    if slab is None:
        return OrthogonalWork()
    stretch = stretch_factor(spacing, config.orthogonal)
    crop = config.network.crop

    def pixels(size: Sequence[int], most: float = math.inf) -> float:
        return OVERHEAD_PIXELS + math.prod(min(side, most) for side in size)

    step = pixels(network_size(shape, (1.0, 1.0), config.network), crop)
    planes = [(network_size((len(slab), side), (stretch, 1.0), config.network), side) for side in shape]
    fits = steps * sum(pixels(size, crop) for size, _ in planes) / step
    # There is one plane per column in the view that shows rows, and one per row in the view that shows columns.
    counts = reversed(shape)
    predictions = PREDICTION_STEPS * sum(
        count * pixels(size) for count, (size, _) in zip(counts, planes, strict=True)
    )
    return OrthogonalWork(fits, predictions / step)


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

    def part(self, amount: float) -> Callable[[float], None]:
        """A function that receives the completed fraction of planned work of this amount, ascending."""
        reported = 0.0

        def report(fraction: float) -> None:
            nonlocal reported
            self.done(amount * (fraction - reported))
            reported = fraction

        return report

    def done(self, amount: float) -> None:
        """Add to the completed work and report progress."""
        with self._lock:
            self._done += amount
            self._report(min(1.0, self._done / max(self._total, 1)))
