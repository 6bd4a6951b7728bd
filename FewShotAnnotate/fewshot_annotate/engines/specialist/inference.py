"""Prediction of a whole volume by an ensemble, in sliding windows where it is large."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..device import has_bfloat16
from .dice_model import SoftDice
from .member_training import memory_format
from .network import SpecialistUNet
from .plan import SpecialistPlan
from .windows import window_boxes, window_size

# If all probabilities of labels that the first network predicts in a window are lower, the other networks skip it.
MIN_PROBABILITY = 0.01
# Number of slices that are predicted together in 2D.
_SLICES_PER_BATCH = 4


def predict_volume(
    networks: Sequence[SpecialistUNet],
    plan: SpecialistPlan,
    image: np.ndarray,
    device: torch.device,
    on_progress: Callable[[float], object] = lambda fraction: None,
    soft_dice: Sequence[SoftDice] = (),
) -> np.ndarray:
    """Mean probabilities of an ensemble.

    Parameters
    ----------
    networks : sequence of SpecialistUNet
    plan : SpecialistPlan
    image : float ndarray, shape [d, h, w]
        Normalised, on the working grid.
    device : torch.device
    on_progress : function
        Called with the fraction that is done.
    soft_dice : sequence of SoftDice, optional
        One for each network, to which its probabilities are added.

    Returns
    -------
    probabilities : float16 ndarray, shape [labels + 1, d, h, w]
    """
    size = np.array(image.shape)
    total = np.zeros((plan.labels + 1, *image.shape), dtype=np.float16)
    count = len(image) if plan.dimensions == 2 else 1
    done = 0
    for first in range(0, count, _SLICES_PER_BATCH if plan.dimensions == 2 else 1):
        slice_indices = list(range(first, min(first + _SLICES_PER_BATCH, count)))
        channels = _inputs(image, slice_indices, plan)
        before, share = done / count, len(slice_indices) / count

        def report(fraction: float, before: float = before, share: float = share) -> None:
            on_progress(before + share * fraction)

        probabilities = _windowed(networks, plan, channels, device, soft_dice, report)
        if plan.dimensions == 2:
            total[:, slice_indices] = probabilities.transpose(1, 0, 2, 3)[..., : size[1], : size[2]]
        else:
            total[...] = probabilities[0]
        done += len(slice_indices)
    return total


def _inputs(image: np.ndarray, slice_indices: Sequence[int], plan: SpecialistPlan) -> np.ndarray:
    """Input `[batch, inputs, ...]` for some slices in 2D, or for the volume in 3D."""
    if plan.dimensions == 3:
        return np.asarray(image, dtype=np.float32)[None, None]
    last = len(image) - 1
    offsets = range(-plan.context, plan.context + 1)
    neighbours = [[min(max(index + offset, 0), last) for offset in offsets] for index in slice_indices]
    return np.stack([image[indices] for indices in neighbours]).astype(np.float32)


def _windowed(
    networks: Sequence[SpecialistUNet],
    plan: SpecialistPlan,
    channels: np.ndarray,
    device: torch.device,
    soft_dice: Sequence[SoftDice],
    on_progress: Callable[[float], object],
) -> np.ndarray:
    """Probabilities `[batch, classes, ...]` of an input of any size."""
    size = channels.shape[2:]
    window = window_size(size, plan)
    padding = [(0, max(0, side - length)) for side, length in zip(window, size, strict=True)]
    padded = np.pad(channels, [(0, 0), (0, 0), *padding], mode="edge")
    weight = _window_weight(window)
    total = np.zeros((len(channels), plan.labels + 1, *padded.shape[2:]), dtype=np.float32)
    norm = np.zeros(padded.shape[2:], dtype=np.float32)
    boxes = list(window_boxes(padded.shape[2:], window))
    for number, window_box in enumerate(boxes, start=1):
        inner = (slice(None), slice(None), *window_box)
        crop = torch.from_numpy(np.ascontiguousarray(padded[inner]))
        total[inner] += _ensemble(networks, plan, crop, device, soft_dice) * weight
        norm[window_box] += weight
        on_progress(number / len(boxes))
    total /= norm
    return total[(slice(None), slice(None), *(slice(0, length) for length in size))]


def _ensemble(
    networks: Sequence[SpecialistUNet],
    plan: SpecialistPlan,
    crop: torch.Tensor,
    device: torch.device,
    soft_dice: Sequence[SoftDice],
) -> np.ndarray:
    crop = crop.to(device).contiguous(memory_format=memory_format(plan))
    mean: torch.Tensor | None = None
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        for count, network in enumerate(networks, start=1):
            probabilities = torch.softmax(network(crop).float(), dim=1)
            mean = probabilities if mean is None else mean + (probabilities - mean) / count
            if soft_dice:
                soft_dice[count - 1].add(probabilities.transpose(0, 1).cpu().numpy())
            if count == 1 and float(probabilities[:, 1:].amax()) < MIN_PROBABILITY:
                break
    assert mean is not None
    result: np.ndarray = mean.cpu().numpy()
    return result


def _window_weight(window: Sequence[int]) -> np.ndarray:
    """Weight of each voxel of a window, which decreases towards its border."""
    weight = np.ones(tuple(window), dtype=np.float32)
    for axis, side in enumerate(window):
        distance = np.abs(np.arange(side) - (side - 1) / 2) / (side / 2)
        shape = [1] * len(window)
        shape[axis] = side
        weight *= np.maximum(1e-2, 1 - distance**2).astype(np.float32).reshape(shape)
    return weight
