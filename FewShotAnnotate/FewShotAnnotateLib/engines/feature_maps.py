"""Layers on feature maps `[n, h, w, channels]`, contiguous: the layout that processors convolve quickest in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SLOPE = 0.01


def conv(inputs: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution with a kernel `[out, in, k, k]`; the result is as large as the input."""
    result = functional.conv2d(inputs.permute(0, 3, 1, 2), kernel, bias, padding=kernel.shape[-1] // 2)
    return result.permute(0, 2, 3, 1)


def act(tensor: Tensor) -> Tensor:
    """LeakyReLU, in place."""
    return functional.leaky_relu_(tensor, SLOPE)


def pool(tensor: Tensor) -> Tensor:
    """The largest of each 2 x 2 pixels."""
    return functional.max_pool2d(tensor.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def enlarge(tensor: Tensor) -> Tensor:
    """Twice as many rows and columns, interpolated."""
    large = functional.interpolate(tensor.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=True)
    return large.permute(0, 2, 3, 1)


def join(first: Tensor, second: Tensor) -> Tensor:
    """Channels of both."""
    return torch.cat([first, second], dim=-1)
