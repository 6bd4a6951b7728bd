"""A compact U-Net in two or three dimensions that works at half the resolution of its input.

The input is folded into channels (pixel unshuffle) and the output unfolded, so that the convolutions see an eighth
(in 2D, a quarter) of the voxels. Ronneberger et al., "U-Net" (MICCAI 2015); Isensee et al., "nnU-Net" (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from ..networks.group_norm import GroupNorm

# Slope of the leaky ReLU for negative inputs, as in nnU-Net.
_NEGATIVE_SLOPE = 0.01
# Channels of each group of the group normalisation.
_GROUP_CHANNELS = 8


class SpecialistUNet(nn.Module):
    """Logits `[batch, classes, (d,) h, w]` of an image `[batch, inputs, (d,) h, w]`.

    Parameters
    ----------
    inputs, classes : int
    channels : sequence of int
        Channels of each level; multiples of 8.
    fold : sequence of int
        Factor for each axis by which the input is folded into channels.
    pools : sequence of sequence of int
        Pooling factor for each axis, between each level and the next.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        channels: Sequence[int],
        fold: Sequence[int],
        pools: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        self.fold, self.pools = tuple(fold), tuple(tuple(pool) for pool in pools)
        conv = nn.Conv3d if len(fold) == 3 else nn.Conv2d
        cells = 1
        for factor in self.fold:
            cells *= factor
        count = inputs * cells
        self.down = nn.ModuleList()
        for width in channels:
            self.down.append(_block(conv, count, width))
            count = width
        self.up = nn.ModuleList(_block(conv, low + high, low) for low, high in reversed(list(pairwise(channels))))
        self.head = conv(channels[0], classes * cells, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of each class; the size of the image is a multiple of the product of `fold` and all `pools`."""
        x = _folded(image, self.fold)
        skips: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            if level:
                x = _pooled(x, self.pools[level - 1])
            x = block(x)
            skips.append(x)
        mode = "trilinear" if len(self.fold) == 3 else "bilinear"
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = functional.interpolate(x, size=skip.shape[2:], mode=mode, align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        return _unfolded(self.head(x).float(), self.fold)


def _block(conv: type[nn.Module], inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count in (inputs, outputs):
        layers += [
            conv(count, outputs, 3, padding=1, bias=False),
            GroupNorm(outputs // _GROUP_CHANNELS, outputs),
            nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True),
        ]
    return nn.Sequential(*layers)


def _pooled(x: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    pool = functional.max_pool3d if len(factors) == 3 else functional.max_pool2d
    pooled: torch.Tensor = pool(x, tuple(factors))
    return pooled


def _folded(x: torch.Tensor, fold: Sequence[int]) -> torch.Tensor:
    """Move blocks of `fold` voxels into channels."""
    batch, channels, *size = x.shape
    axes = len(fold)
    split = [batch, channels]
    for length, factor in zip(size, fold, strict=True):
        split += [length // factor, factor]
    outer = [2 + 2 * axis for axis in range(axes)]
    inner = [3 + 2 * axis for axis in range(axes)]
    moved = x.reshape(split).permute(0, 1, *inner, *outer)
    return moved.reshape(batch, -1, *(length // factor for length, factor in zip(size, fold, strict=True)))


def _unfolded(x: torch.Tensor, fold: Sequence[int]) -> torch.Tensor:
    """The inverse of `_folded`."""
    batch, channels, *size = x.shape
    axes = len(fold)
    cells = 1
    for factor in fold:
        cells *= factor
    split = x.reshape(batch, channels // cells, *fold, *size)
    order = [0, 1]
    for axis in range(axes):
        order += [2 + axes + axis, 2 + axis]
    full_size = [length * factor for length, factor in zip(size, fold, strict=True)]
    return split.permute(order).reshape(batch, channels // cells, *full_size)
