"""PerSAM and PerSAM-F: segment a slice, without training, from one labelled slice.

Zhang et al., "Personalize Segment Anything Model with One Shot" (ICLR 2024). The original fails where a mask is
smaller than a cell of the embedding or a predicted mask is empty; here the nearest cell or the unrefined logits are
used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..pretrained.prompts import Box
from .network import EmbeddedSlice, SamModel, TargetPrompt

# Hyperparameters of the fit of PerSAM-F, as in the original.
STEPS = 1000
LEARNING_RATE = 1e-3
EPSILON = 1e-4
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0


@dataclass(frozen=True)
class TargetFeatures:
    """Features of the target object.

    Attributes
    ----------
    direction : Tensor, shape [1, channels]
        Unit vector; similarity is the cosine with it.
    embedding : Tensor, shape [1, 1, channels]
        The mean feature of the object.
    """

    direction: Tensor
    embedding: Tensor


def target_features(
    model: SamModel, embedded: EmbeddedSlice, mask: np.ndarray, blend_maximum: bool = False
) -> TargetFeatures:
    """Features of the target object on a labelled slice.

    Parameters
    ----------
    model : SamModel
    embedded : EmbeddedSlice
        The labelled slice.
    mask : bool ndarray, shape [h, w]
        Not empty.
    blend_maximum : bool
        Average the mean and the maximum of the object's features, as PerSAM-F does; else use the mean.
    """
    features = embedded.features[0].permute(1, 2, 0)[_cells(model, embedded, mask)]
    mean = features.mean(0)
    target = features.amax(0) / 2 + mean / 2 if blend_maximum else mean
    return TargetFeatures((target / target.norm())[None], mean[None, None])


def similarity(model: SamModel, embedded: EmbeddedSlice, target_object: TargetFeatures) -> Tensor:
    """Cosine of each pixel's feature with the target, `[h, w]`."""
    features = embedded.features[0]
    channels, height, width = features.shape
    directions = (features / features.norm(dim=0, keepdim=True)).reshape(channels, height * width)
    cosine = (target_object.direction @ directions).reshape(1, 1, height, width)
    cosine = functional.interpolate(cosine, scale_factor=4, mode="bilinear")
    return model.enlarge(cosine[0], embedded)[0]


def persam(
    model: SamModel, embedded: EmbeddedSlice, target_object: TargetFeatures, limit: Box | None = None
) -> Tensor:
    """Logits `[h, w]` of the object by PerSAM: best and worst point, then refined by mask and by box.

    Parameters
    ----------
    model : SamModel
    embedded : EmbeddedSlice
        The query slice.
    target_object : TargetFeatures
    limit : (x0, y0, x1, y1), optional
        Region of the foreground point; default: the whole slice.
    """
    cosine = similarity(model, embedded, target_object)
    points = np.array(
        [most_similar_pixel(cosine, limit), _coordinates(int(cosine.argmin()), cosine)], dtype=np.float64
    )
    inside = np.array([True, False])
    grid = embedded.features.shape[-1]
    deviation = torch.std(cosine, correction=min(1, cosine.numel() - 1))  # 0 for a slice of one pixel
    relative = (cosine - cosine.mean()) / deviation.clamp_min(torch.finfo(cosine.dtype).tiny)
    attention = functional.interpolate(relative[None, None], size=(grid, grid), mode="bilinear").sigmoid()
    target = TargetPrompt(target_object.embedding, attention.reshape(1, 1, 1, grid * grid))
    logits, _ = model.decode(embedded, points, inside, target=target)
    logits, scores = model.decode(embedded, points, inside, mask=logits[:1], multimask=True)
    return refine(model, embedded, points, inside, logits[int(scores.argmax())])


def persam_f(
    model: SamModel, embedded: EmbeddedSlice, target_object: TargetFeatures, weights: Tensor, limit: Box | None = None
) -> Tensor:
    """Logits `[h, w]` by PerSAM-F: three masks mixed by `weights` `[3]`, then refined by box twice."""
    cosine = similarity(model, embedded, target_object)
    points, inside = np.array([most_similar_pixel(cosine, limit)], dtype=np.float64), np.array([True])
    logits, _ = model.decode(embedded, points, inside, multimask=True)
    mixed = (logits * weights[:, None, None]).sum(0)
    high = (model.enlarge(logits, embedded) * weights[:, None, None]).sum(0)
    box = _box(high > 0)
    if box is None:
        return high
    logits, scores = model.decode(embedded, points, inside, box, mixed[None], multimask=True)
    return refine(model, embedded, points, inside, logits[int(scores.argmax())])


def fit_mask_weights(
    model: SamModel,
    embedded: EmbeddedSlice,
    target_object: TargetFeatures,
    mask: np.ndarray,
    report: Callable[[float], None],
) -> Tensor:
    """Weights `[3]` of SAM's three masks, summing to 1, with which they best reproduce the labelled mask.

    Parameters
    ----------
    model : SamModel
    embedded : EmbeddedSlice
        The labelled slice.
    target_object : TargetFeatures
    mask : bool ndarray, shape [h, w]
    report : function
        Called with the finished fraction of the fit, 0..1.
    """
    points = np.array([most_similar_pixel(similarity(model, embedded, target_object), None)], dtype=np.float64)
    low, _ = model.decode(embedded, points, np.array([True]), multimask=True)
    # The decoder is frozen and its prompt does not change, so it is run once for all steps.
    logits = model.enlarge(low, embedded).flatten(1)
    truth = torch.from_numpy(mask.astype(np.float32)).to(logits.device).flatten()[None]
    free = nn.Parameter(torch.ones(2, 1, device=logits.device) / 3)
    optimizer = torch.optim.AdamW([free], lr=LEARNING_RATE, eps=EPSILON)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        loss = mask_loss((logits * _mixture(free)).sum(0)[None], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        report((step + 1) / STEPS)
    return _mixture(free.detach())[:, 0]


def _mixture(free: Tensor) -> Tensor:
    return torch.cat((1 - free.sum(0)[None], free))


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss plus focal loss (Lin et al. 2017) of logits and a mask of one shape, weighted as in the original."""
    probability = logits.sigmoid()
    dice = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    agreement = probability * truth + (1 - probability) * (1 - truth)
    alpha = FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)
    return dice + (alpha * entropy * (1 - agreement) ** FOCAL_GAMMA).mean()


def _cells(model: SamModel, embedded: EmbeddedSlice, mask: np.ndarray) -> Tensor:
    """Grid cells of the embedding that the mask covers, bool `[grid, grid]`; at least one.

    The mask is preprocessed like an image, as in the original, so a cell must be covered by about half.
    """
    from segment_anything.utils.transforms import ResizeLongestSide

    white = np.repeat((mask * np.uint8(255))[:, :, None], 3, axis=2)
    prepared = model.sam.preprocess(model.as_input(ResizeLongestSide(model.side).apply_image(white)))[:, :1]
    grid = embedded.features.shape[-2:]
    cells: Tensor = functional.interpolate(prepared, size=grid, mode="bilinear")[0, 0] > 0
    if not cells.any():
        padded = functional.pad(
            functional.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], embedded.input_size)[0, 0],
            (0, model.side - embedded.input_size[1], 0, model.side - embedded.input_size[0]),
        )
        coverage = functional.adaptive_avg_pool2d(padded[None], (grid[0], grid[1]))[0].to(cells.device)
        cells = coverage >= coverage.max() if coverage.max() > 0 else _nearest_cell(model, embedded, mask, cells)
    return cells


def _nearest_cell(model: SamModel, embedded: EmbeddedSlice, mask: np.ndarray, cells: Tensor) -> Tensor:
    """The cell of the mask's first pixel, for masks that vanish when a large slice is downsampled."""
    row, column = np.argwhere(mask)[0]
    nearest = torch.zeros_like(cells)
    nearest[
        int(row * embedded.input_size[0] / embedded.size[0] / model.side * cells.shape[0]),
        int(column * embedded.input_size[1] / embedded.size[1] / model.side * cells.shape[1]),
    ] = True
    return nearest


def most_similar_pixel(cosine: Tensor, limit: Box | None) -> tuple[int, int]:
    """Coordinates x and y of the pixel with the largest cosine similarity `[h, w]`, in the box if it has any."""
    if limit is not None:
        left, top, right, bottom = (int(np.ceil(limit[0])), int(np.ceil(limit[1])), int(limit[2]), int(limit[3]))
        inside = cosine[top : bottom + 1, left : right + 1]
        if inside.numel():
            x, y = _coordinates(int(inside.argmax()), inside)
            return x + left, y + top
    return _coordinates(int(cosine.argmax()), cosine)


def _coordinates(flat: int, image: Tensor) -> tuple[int, int]:
    return flat % image.shape[1], flat // image.shape[1]


def refine(model: SamModel, embedded: EmbeddedSlice, points: np.ndarray, inside: np.ndarray, low: Tensor) -> Tensor:
    """Refine logits by prompting with themselves and the box of their mask; returns `[h, w]`."""
    high = model.enlarge(low[None], embedded)[0]
    box = _box(high > 0)
    if box is None:
        return high
    logits, scores = model.decode(embedded, points, inside, box, low[None], multimask=True)
    return model.enlarge(logits[int(scores.argmax())][None], embedded)[0]


def _box(mask: Tensor) -> Box | None:
    rows, columns = (torch.nonzero(mask.any(dim=1 - axis))[:, 0] for axis in (0, 1))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])
