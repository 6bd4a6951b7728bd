"""Layers on contiguous feature maps `[n, h, w, channels]`, the fastest layout for convolutions on CPUs."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

NEGATIVE_SLOPE = 0.01


def conv(inputs: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution with a kernel `[out, in, k, k]`; the size of the feature map is kept."""
    result = functional.conv2d(inputs.permute(0, 3, 1, 2), kernel, bias, padding=kernel.shape[-1] // 2)
    return result.permute(0, 2, 3, 1)


def act(tensor: Tensor) -> Tensor:
    """LeakyReLU, in place."""
    return functional.leaky_relu_(tensor, NEGATIVE_SLOPE)


def pool(tensor: Tensor) -> Tensor:
    """Max pooling of 2 x 2 pixels."""
    return functional.max_pool2d(tensor.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def pool_into(tensor: Tensor, out: Tensor) -> None:
    """As `pool`, for feature maps `[..., h, w, channels]`, written to `out`."""
    *_, width, channels = tensor.shape
    rows = tensor.view(-1, 2, width * channels)
    high = torch.maximum(rows[:, 0], rows[:, 1]).view(-1, 2, channels)
    torch.maximum(high[:, 0], high[:, 1], out=out.view(-1, channels))


def upsample(tensor: Tensor) -> Tensor:
    """Bilinear upsampling by a factor of two."""
    upsampled = functional.interpolate(
        tensor.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=True
    )
    return upsampled.permute(0, 2, 3, 1)


def join(first: Tensor, second: Tensor) -> Tensor:
    """Concatenate channels."""
    return torch.cat([first, second], dim=-1)


class UpsamplingConvolution:
    """Equals `conv(upsample(tensor), kernel)` with a kernel `[out, in, 3, 3]`, in two thirds of the time or less.

    Bilinear upsampling is separable. Each row of the kernel convolves the tensor upsampled along columns only, and a
    matrix upsamples and shifts the result along rows.
    """

    def __init__(self, kernel: Tensor) -> None:
        self._rows = [kernel[:, :, row : row + 1].contiguous() for row in range(3)]

    def __call__(self, tensor: Tensor) -> Tensor:
        """Apply the layer."""
        count, height, width, _ = tensor.shape
        wide = functional.interpolate(
            tensor.permute(0, 3, 1, 2), size=(height, 2 * width), mode="bilinear", align_corners=True
        )
        result = tensor.new_zeros(())
        for number, (kernel, matrix) in enumerate(zip(self._rows, _row_matrices(height, tensor.device), strict=True)):
            columns = functional.conv2d(wide, kernel, padding=(0, 1)).permute(0, 2, 3, 1).reshape(count, height, -1)
            result = (
                result.baddbmm_(matrix.expand(count, -1, -1), columns) if number else torch.matmul(matrix, columns)
            )
        return result.view(count, 2 * height, 2 * width, -1)


@lru_cache(maxsize=16)
def _row_matrices(height: int, device: torch.device) -> tuple[Tensor, ...]:
    """Matrices `[2 * height, height]` that upsample rows and shift them down by one, not at all, and up by one."""
    unit = torch.eye(height, device=device)[None, None]
    plain = functional.interpolate(unit, size=(2 * height, height), mode="bilinear", align_corners=True)[0, 0]
    edge = plain.new_zeros(1, height)
    return torch.cat([edge, plain[:-1]]), plain, torch.cat([plain[1:], edge])
