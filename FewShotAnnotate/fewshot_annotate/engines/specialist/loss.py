"""Training loss: cross-entropy and Dice, on labelled voxels only."""

from __future__ import annotations

import torch
from torch.nn import functional

# A label with fewer voxels in a batch does not count in its Dice loss.
_MIN_VOXELS = 5.0


def masked_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus the mean Dice loss of the labels in the target (Milletari et al., 2016).

    Parameters
    ----------
    logits : float32 tensor, shape [batch, labels + 1, ...]
    target : float32 tensor of the same shape
        Fraction of each label index in each voxel. A voxel whose fractions are all 0 is not labelled and is ignored.
    """
    log = functional.log_softmax(logits, dim=1)
    weight = target.sum(dim=1)
    entropy = -(target * log).sum() / weight.sum().clamp(min=1)
    axes = [0, *range(2, logits.ndim)]
    probabilities = log.exp() * weight[:, None]
    overlap, true_size = (probabilities * target).sum(dim=axes)[1:], target.sum(dim=axes)[1:]
    sizes = probabilities.sum(dim=axes)[1:] + true_size
    present = (true_size > _MIN_VOXELS).float()
    dice_loss = 1 - (2 * overlap + 1) / (sizes + 1)
    return entropy + (dice_loss * present).sum() / present.sum().clamp(min=1)
