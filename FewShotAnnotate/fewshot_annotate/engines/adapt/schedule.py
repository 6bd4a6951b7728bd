"""Length of the fits of `adapt`, and the slices it refines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.support import Support
from .config import AdaptConfig, NetworkConfig, OrthogonalConfig, ScheduleConfig
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
        Time limit of the network with all labelled slices; the remaining time is for the orthogonal views.
    """

    steps: int
    slab: range | None
    config: ScheduleConfig
    seconds: float | None = None

    @classmethod
    def unlimited(
        cls, steps: int, query: Sequence[int], support: Support, shape: tuple[int, int], config: AdaptConfig
    ) -> FitPlan | None:
        """Plan without a time limit, from the steps that a user chose; None for no network.

        There is none with fewer than two labelled slices.
        """
        if len(support.indices) < 2 or not config.network.enabled:
            return None
        slab = refined_slab(query, support, shape, config.orthogonal)
        return cls(scaled_steps(steps, support, shape, config), slab, config.schedule)

    @property
    def orthogonal_steps(self) -> int:
        """Steps of each network in the orthogonal views."""
        return self.share(self.config.orthogonal_share)[0]

    def share(self, fraction: float) -> tuple[int, float | None]:
        """Steps and time limit of a network, as a fraction of those of the network with all labelled slices."""
        return max(1, round(self.steps * fraction)), None if self.seconds is None else fraction * self.seconds


def scaled_steps(steps: int, support: Support, shape: tuple[int, int], config: AdaptConfig) -> int:
    """Steps of the longest fit; many labels, or many or large labelled slices, need more.

    `shape` is that of the window.
    """
    schedule = config.schedule
    pixels = math.prod(network_size(shape, (1, 1), config.network))
    crops = len(support.indices) * pixels / config.network.crop**2
    factor = max(1.0, len(support.labels) / schedule.reference_labels, crops / schedule.reference_crops)
    return round(steps * min(factor, schedule.max_steps_factor))


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
