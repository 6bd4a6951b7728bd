"""PerSAM and PerSAM-F on one picture: find again, without training, what was labelled on another.

Zhang et al., "Personalize Segment Anything Model with One Shot" (ICLR 2024). The original stops with an error where a
mask is smaller than a cell of the embedding, or comes back empty; here the nearest thing to it is done instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..pretrained.prompts import Box
from .network import Picture, SamModel, Target

# Of the fit of PerSAM-F.
STEPS = 1000
LEARNING_RATE = 1e-3
EPSILON = 1e-4
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0


@dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes
    ----------
    direction : Tensor, shape [1, channels]
        Of length 1; likeness is the cosine with it.
    embedding : Tensor, shape [1, 1, channels]
        The mean feature of the object.
    """

    direction: Tensor
    embedding: Tensor


def wanted(model: SamModel, picture: Picture, mask: np.ndarray, sharp: bool = False) -> Wanted:
    """The target of a labelled slice.

    Parameters
    ----------
    model : SamModel
    picture : Picture
        Of the labelled slice.
    mask : bool ndarray, shape [h, w]
        Not empty.
    sharp : bool
        Half the mean and half the maximum of the object's features, as PerSAM-F does; else the mean.
    """
    features = picture.features[0].permute(1, 2, 0)[_cells(model, picture, mask)]
    mean = features.mean(0)
    target = features.amax(0) / 2 + mean / 2 if sharp else mean
    return Wanted((target / target.norm())[None], mean[None, None])


def likeness(model: SamModel, picture: Picture, wanted: Wanted) -> Tensor:
    """Cosine of each pixel's feature with the target, `[h, w]`."""
    features = picture.features[0]
    channels, height, width = features.shape
    directions = (features / features.norm(dim=0, keepdim=True)).reshape(channels, height * width)
    cosine = (wanted.direction @ directions).reshape(1, 1, height, width)
    cosine = functional.interpolate(cosine, scale_factor=4, mode="bilinear")
    return model.enlarge(cosine[0], picture)[0]


def persam(model: SamModel, picture: Picture, wanted: Wanted, limit: Box | None = None) -> Tensor:
    """Logits `[h, w]` of the object by PerSAM: best and worst point, then refined by mask and by box.

    Parameters
    ----------
    model : SamModel
    picture : Picture
        Of the slice to fill.
    wanted : Wanted
    limit : (x0, y0, x1, y1), optional
        Where the best point may lie; default: anywhere.
    """
    cosine = likeness(model, picture, wanted)
    points = np.array([_best(cosine, limit), _place(int(cosine.argmin()), cosine)], dtype=np.float64)
    inside = np.array([True, False])
    grid = picture.features.shape[-1]
    relative = (cosine - cosine.mean()) / torch.std(cosine).clamp_min(torch.finfo(cosine.dtype).tiny)
    attention = functional.interpolate(relative[None, None], size=(grid, grid), mode="bilinear").sigmoid()
    target = Target(wanted.embedding, attention.reshape(1, 1, 1, grid * grid))
    logits, _ = model.decode(picture, points, inside, target=target)
    logits, scores = model.decode(picture, points, inside, mask=logits[:1], several=True)
    return _refined(model, picture, points, inside, logits[int(scores.argmax())])


def persam_f(model: SamModel, picture: Picture, wanted: Wanted, weights: Tensor, limit: Box | None = None) -> Tensor:
    """Logits `[h, w]` by PerSAM-F: three masks mixed by `weights` `[3]`, then refined by box twice."""
    cosine = likeness(model, picture, wanted)
    points, inside = np.array([_best(cosine, limit)], dtype=np.float64), np.array([True])
    logits, _ = model.decode(picture, points, inside, several=True)
    mixed = (logits * weights[:, None, None]).sum(0)
    high = (model.enlarge(logits, picture) * weights[:, None, None]).sum(0)
    box = _box(high > 0)
    if box is None:
        return high
    logits, scores = model.decode(picture, points, inside, box, mixed[None], several=True)
    return _refined(model, picture, points, inside, logits[int(scores.argmax())])


def fit_weights(
    model: SamModel, picture: Picture, wanted: Wanted, mask: np.ndarray, tell: Callable[[float], None]
) -> Tensor:
    """How much each of SAM's three masks counts, `[3]`, so that they give the labelled mask back; they sum to 1.

    Parameters
    ----------
    model : SamModel
    picture : Picture
        Of the labelled slice.
    wanted : Wanted
    mask : bool ndarray, shape [h, w]
    tell : function
        Called with the part of the fit that is done.
    """
    points = np.array([_best(likeness(model, picture, wanted), None)], dtype=np.float64)
    low, _ = model.decode(picture, points, np.array([True]), several=True)
    # The decoder is frozen and its prompt stays the same, so one answer of it serves all steps.
    logits = model.enlarge(low, picture).flatten(1)
    truth = torch.from_numpy(mask.astype(np.float32)).to(logits.device).flatten()[None]
    free = nn.Parameter(torch.ones(2, 1, device=logits.device) / 3)
    optimizer = torch.optim.AdamW([free], lr=LEARNING_RATE, eps=EPSILON)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        loss = _loss((logits * _mixture(free)).sum(0)[None], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        tell((step + 1) / STEPS)
    return _mixture(free.detach())[:, 0]


def _mixture(free: Tensor) -> Tensor:
    return torch.cat((1 - free.sum(0)[None], free))


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss plus focal loss (Lin et al. 2017), as the original weighs them."""
    probability = logits.sigmoid()
    dice = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = probability * truth + (1 - probability) * (1 - truth)
    alpha = FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)
    return dice + (alpha * entropy * (1 - right) ** FOCAL_GAMMA).mean()


def _cells(model: SamModel, picture: Picture, mask: np.ndarray) -> Tensor:
    """Cells of the embedding that the mask covers, bool `[grid, grid]`; at least one.

    The mask passes through what SAM does to pictures, so that the padding is 0 and about half a cell is needed.
    """
    from segment_anything.utils.transforms import ResizeLongestSide

    white = np.repeat((mask * np.uint8(255))[:, :, None], 3, axis=2)
    prepared = model.sam.preprocess(model.as_input(ResizeLongestSide(model.side).apply_image(white)))[:, :1]
    grid = picture.features.shape[-2:]
    cells: Tensor = functional.interpolate(prepared, size=grid, mode="bilinear")[0, 0] > 0
    if not cells.any():
        shown = functional.pad(
            functional.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], picture.input_size)[0, 0],
            (0, model.side - picture.input_size[1], 0, model.side - picture.input_size[0]),
        )
        share = functional.adaptive_avg_pool2d(shown[None], (grid[0], grid[1]))[0].to(cells.device)
        cells = share >= share.max() if share.max() > 0 else _nearest_cell(model, picture, mask, cells)
    return cells


def _nearest_cell(model: SamModel, picture: Picture, mask: np.ndarray, cells: Tensor) -> Tensor:
    """The cell of the mask's first pixel: for masks that vanish where a large slice is made smaller."""
    row, column = np.argwhere(mask)[0]
    found = torch.zeros_like(cells)
    found[
        int(row * picture.input_size[0] / picture.size[0] / model.side * cells.shape[0]),
        int(column * picture.input_size[1] / picture.size[1] / model.side * cells.shape[1]),
    ] = True
    return found


def _best(cosine: Tensor, limit: Box | None) -> tuple[int, int]:
    """Coordinates x and y of the pixel most like the target."""
    if limit is not None:
        left, top, right, bottom = (int(np.ceil(limit[0])), int(np.ceil(limit[1])), int(limit[2]), int(limit[3]))
        part = cosine[top : bottom + 1, left : right + 1]
        if part.numel():
            x, y = _place(int(part.argmax()), part)
            return x + left, y + top
    return _place(int(cosine.argmax()), cosine)


def _place(flat: int, image: Tensor) -> tuple[int, int]:
    return flat % image.shape[1], flat // image.shape[1]


def _refined(model: SamModel, picture: Picture, points: np.ndarray, inside: np.ndarray, low: Tensor) -> Tensor:
    """The last step: the box of what was found, and itself, as prompts."""
    high = model.enlarge(low[None], picture)[0]
    box = _box(high > 0)
    if box is None:
        return high
    logits, scores = model.decode(picture, points, inside, box, low[None], several=True)
    return model.enlarge(logits[int(scores.argmax())][None], picture)[0]


def _box(mask: Tensor) -> Box | None:
    rows, columns = (torch.nonzero(mask.any(dim=1 - axis))[:, 0] for axis in (0, 1))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])
