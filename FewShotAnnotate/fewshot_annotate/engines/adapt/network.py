"""A compact 2.5D U-Net, fitted in place on a few slices of one volume.

Its inputs are the channels of five neighbouring slices, the position in the volume, and a prior: blurred
probabilities of the labels. Its output is added to the log-probabilities of the prior.

Ronneberger et al., "U-Net" (MICCAI 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..device import has_bfloat16
from ..networks.group_norm import GroupNorm
from .config import NetworkConfig
from .stack import POSITIONS, Stack


class _Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for count in (inputs, outputs):
            layers += [
                nn.Conv2d(count, outputs, 3, padding=1, bias=False),
                GroupNorm(4, outputs),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """Logits `[batch, classes, h, w]`: log-probabilities of the prior plus the output of a U-Net.

    `images` is the number of images among its inputs, by default one for each neighbouring slice.
    """

    def __init__(self, classes: int, config: NetworkConfig, images: int | None = None) -> None:
        super().__init__()
        self.images, self.patch, self.floor = images or len(config.context), config.patch, config.prior_floor
        self.mix = nn.Conv2d(classes, config.prior_channels, 1)
        count = self.images * self.patch**2 + POSITIONS + config.prior_channels
        self.down = nn.ModuleList()
        for channels in config.channels:
            self.down.append(_Block(count, channels))
            count = channels
        self.up = nn.ModuleList(_Block(low + high, low) for low, high in reversed(list(pairwise(config.channels))))
        self.head = nn.Conv2d(config.channels[0], classes * self.patch**2, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def inner_weights(self) -> list[nn.Parameter]:
        """Weights of the convolutions between the inputs and the head."""
        return [weight for level in (self.down, self.up) for weight in level.parameters() if weight.ndim == 4]

    def forward(self, inputs: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """Logits of inputs `[batch, channels, h, w]` and prior probabilities `[batch, classes, h, w]`."""
        height, width = inputs.shape[-2:]
        pad = (0, -width % self.patch, 0, -height % self.patch)
        prior = prior.float()
        images, positions = functional.pad(inputs, pad, mode="replicate").split([self.images, POSITIONS], dim=1)
        pooled_prior = functional.avg_pool2d(functional.pad(prior, pad, mode="replicate"), self.patch)
        channels = [
            functional.pixel_unshuffle(images, self.patch),
            functional.avg_pool2d(positions, self.patch),
            self.mix(pooled_prior),
        ]
        x = torch.cat(channels, dim=1).contiguous(memory_format=torch.channels_last)
        skips: list[torch.Tensor] = []
        for block in self.down:
            if skips:
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        logits: torch.Tensor = functional.pixel_shuffle(self.head(x), self.patch)[..., :height, :width]
        return logits.float() + torch.log(prior + self.floor)


@dataclass(frozen=True)
class FittedNetwork:
    """A network after `fit`.

    Attributes
    ----------
    stack : Stack
        Its input slices.
    module : UNet
    completed : float
        Fraction of the planned steps, 0..1, that were completed within the time limit.
    seconds : float
        Duration of the fit.
    """

    stack: Stack
    module: UNet
    completed: float
    seconds: float

    @property
    def fusion_weight(self) -> float:
        """Fusion weight in 0..1; near 0 for a fit that was cut short."""
        return self.completed**2

    def predict(self, index: int, probabilities: np.ndarray) -> np.ndarray:
        """Predict a slice of its stack.

        Parameters
        ----------
        index : int
        probabilities : float32 ndarray, shape [classes, h, w]
            Prior, in the window, before blurring.

        Returns
        -------
        float32 ndarray, shape [classes, h, w]
            Log-probabilities in the window.
        """
        everything = slice(None)
        device = self.stack.device
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            inputs, prior = self.stack.inputs(index, everything, everything), self.stack.prior(probabilities)
            logits = self.module(inputs[None], prior[None])
            predicted: np.ndarray = self.stack.enlarge(torch.softmax(logits, dim=1)[0]).cpu().numpy()
        return np.log(predicted + np.float32(self.stack.config.floor))
