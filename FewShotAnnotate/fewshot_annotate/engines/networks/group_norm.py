"""Group normalisation in float32, whatever the precision of its input.

Wu & He, "Group normalization" (ECCV 2018). On a CPU, the backward pass of torch's bfloat16 version takes longer.
"""

from __future__ import annotations

import torch
from torch import nn


class GroupNorm(nn.GroupNorm):
    """As torch's; the result has the precision of the input."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise features `[batch, channels, ...]`."""
        return super().forward(features.float()).to(features.dtype)
