"""Loss of training: cross-entropy and Dice, on labelled voxels only."""

from __future__ import annotations

import torch
from torch.nn import functional

# Voxels of a label in a batch below which its Dice does not count.
_MIN_VOXELS = 5.0


def masked_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus the mean Dice loss of the labels in the target (Milletari et al., 2016).

    Parameters
    ----------
    logits : float32 tensor, shape [batch, labels + 1, ...]
    target : float32 tensor of the same shape
        Share of each label index; a voxel whose shares are all 0 is not labelled and does not count.
    """
    log = functional.log_softmax(logits, dim=1)
    weight = target.sum(dim=1)
    entropy = -(target * log).sum() / weight.sum().clamp(min=1)
    axes = [0, *range(2, logits.ndim)]
    probabilities = log.exp() * weight[:, None]
    both, true = (probabilities * target).sum(dim=axes)[1:], target.sum(dim=axes)[1:]
    each = probabilities.sum(dim=axes)[1:] + true
    present = (true > _MIN_VOXELS).float()
    dice = 1 - (2 * both + 1) / (each + 1)
    return entropy + (dice * present).sum() / present.sum().clamp(min=1)
