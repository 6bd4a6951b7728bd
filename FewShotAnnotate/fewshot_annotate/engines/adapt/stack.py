"""Input slices of a network, and the slices it is fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..gaussian import smooth
from ..threads import ENGINE_THREADS
from .config import NetworkConfig
from .schedule import network_size

# Number of channels that give the position in the volume: row, column and slice.
POSITIONS = 3
# The kernel that blurs the prior ends at this many standard deviations.
PRIOR_TRUNCATE = 2.0


class Stack:
    """Input slices of a network, at its resolution.

    Parameters
    ----------
    image : function
        Returns a slice of the window by index, float32 `[channels, h, w]`, 0..1.
    count : int
    shape : (h, w)
    device : torch.device
    config : NetworkConfig
    stretch : (float, float)
        Factors by which rows and columns are enlarged for the network.
    blur : (float, float), optional
        Standard deviation of the blur of the prior along rows and columns, in pixels of the network; 0 for none.
        Default: that of the settings.
    order : (int, int, int)
        Axis of this stack, rows (0), columns (1) or slices (2), along which the row, column and slice of the volume
        vary; position channels then have the same meaning for networks on different views of a volume.
    """

    def __init__(
        self,
        image: Callable[[int], np.ndarray],
        count: int,
        shape: Sequence[int],
        device: torch.device,
        config: NetworkConfig,
        stretch: Sequence[float] = (1.0, 1.0),
        blur: tuple[float, float] | None = None,
        order: Sequence[int] = (0, 1, 2),
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.size = network_size(self.shape, stretch, config)
        self.count = count
        self.device = device
        self.config = config
        self._blur = blur or (config.prior_blur_pixels, config.prior_blur_pixels)
        self._order = list(order)
        reach = config.context[-1]
        with ThreadPoolExecutor(ENGINE_THREADS) as threads:
            images = threads.map(lambda index: self.shrink(torch.from_numpy(image(index))), range(count))
            slices = torch.stack(list(images))
        self.slices = torch.cat([slices[:1]] * reach + [slices] + [slices[-1:]] * reach).to(device) * 2 - 1
        self.channels = slices.shape[1]
        rows, columns = (torch.linspace(-1, 1, side) for side in self.size)
        self.positions = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).to(device)

    @property
    def images(self) -> int:
        """Number of images among the inputs: the channels of each neighbouring slice."""
        return len(self.config.context) * self.channels

    def shrink(self, maps: torch.Tensor) -> torch.Tensor:
        """Resample maps `[c, h, w]` from the window to the resolution of the network."""
        if tuple(maps.shape[-2:]) == self.size:
            return maps
        return functional.interpolate(
            maps[None].float(), size=self.size, mode="bilinear", align_corners=False, antialias=True
        )[0]

    def enlarge(self, maps: torch.Tensor) -> torch.Tensor:
        """Resample maps `[c, h, w]` from the network to the resolution of the window."""
        if tuple(maps.shape[-2:]) == self.shape:
            return maps
        return functional.interpolate(maps[None], size=self.shape, mode="bilinear", align_corners=False)[0]

    def target(self, probabilities: np.ndarray) -> torch.Tensor:
        """Training target from probabilities `[classes, h, w]` in the window; float16, to save memory."""
        return self.shrink(torch.from_numpy(probabilities)).to(self.device, torch.float16)

    def prior(self, probabilities: np.ndarray) -> torch.Tensor:
        """Prior from probabilities `[classes, h, w]` in the window: resampled and blurred, float16."""
        maps = smooth(self.shrink(torch.from_numpy(probabilities)).numpy(), self._blur, PRIOR_TRUNCATE)
        return torch.from_numpy(maps).to(self.device, torch.float16)

    def example(self, index: int, target: np.ndarray, prior: np.ndarray, labelled: bool) -> TrainingSlice:
        """Training slice from the probabilities `[classes, h, w]` of its target and of its prior, in the window."""
        return TrainingSlice(index, self.target(target), self.prior(prior), labelled)

    def inputs(self, index: int, rows: slice, columns: slice) -> torch.Tensor:
        """Inputs of a crop: the channels of each slice, and the position, `[images + 3, h, w]`."""
        near = self.slices[index : index + len(self.config.context), :, rows, columns].flatten(0, 1)
        sides = self.positions[:, rows, columns]
        number = torch.full_like(sides[:1], 2 * index / max(1, self.count - 1) - 1)
        return torch.cat([near, torch.cat([sides, number])[self._order]])


@dataclass(frozen=True)
class TrainingSlice:
    """A slice that a network is fitted on.

    Attributes
    ----------
    index : int
    target, prior : float16 tensor [classes, h, w] at the network's resolution
    labelled : bool
        Whether it is a labelled slice and not a soft target.
    """

    index: int
    target: torch.Tensor
    prior: torch.Tensor
    labelled: bool
