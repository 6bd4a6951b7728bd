"""Accuracy of a filled volume: Dice, HD95, and how well its confidence predicts its errors.

All arrays are slices `[n, h, w]` of small whole numbers, 0 is background. Everything is counted on unlabelled slices
only: on labelled ones every method returns the given labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from fewshot_annotate.core.dice import dice_of_labels
from fewshot_annotate.guidance.confidence import slice_confidence
from scipy.ndimage import binary_dilation, binary_erosion, find_objects
from scipy.spatial import KDTree
from scipy.stats import spearmanr

# Labels with fewer voxels than this in the whole case are not scored: a few voxels decide their Dice.
MIN_VOXELS = 200
# A ranking of fewer slices is not evaluated.
MIN_SLICES = 4
# Margin around the predicted foreground in which the confidence of voxels is compared with the truth.
MARGIN_PIXELS = 2
# Bins of confidence, in each of which it is compared with the share of correct voxels.
BINS = 10


@dataclass(frozen=True)
class Range:
    """Slices `start` up to `stop`, and those of them that are unlabelled and counted."""

    start: int
    stop: int
    unlabelled: tuple[int, ...]


@dataclass(frozen=True)
class LabelScore:
    """Dice 0..1 and HD95 in mm of a label; `one_sided`: only truth or only the result has it on these slices."""

    dice: float
    hd95: float
    one_sided: bool


def ranges(count: int, indices: Sequence[int]) -> dict[str, Range]:
    """'between' the first and the last labelled slice, and 'all' of `count` slices."""
    labelled = set(indices)

    def over(start: int, stop: int) -> Range:
        return Range(start, stop, tuple(index for index in range(start, stop) if index not in labelled))

    return {"between": over(min(indices), max(indices) + 1), "all": over(0, count)}


def scored_labels(truth: np.ndarray) -> list[int]:
    """The labels large enough to be scored, ascending."""
    sizes = np.bincount(truth.reshape(-1))
    sizes[0] = 0
    return [int(value) for value in np.flatnonzero(sizes >= MIN_VOXELS)]


def dice_by_label(truth: np.ndarray, result: np.ndarray, labels: Sequence[int]) -> dict[int, float]:
    """Dice of each label, voxels pooled over the arrays; labels in neither array are left out."""
    found = dice_of_labels(truth, result, max(labels, default=0))
    return {label: float(found[label - 1]) for label in labels if not np.isnan(found[label - 1])}


def mean_dice(truth: np.ndarray, result: np.ndarray, slices: Sequence[int], labels: Sequence[int]) -> float | None:
    """Mean over labels of the Dice pooled over slices; None where neither side holds any."""
    return mean(dice_by_label(truth[list(slices)], result[list(slices)], labels).values())


def mean(values: Iterable[float]) -> float | None:
    """Arithmetic mean, None of nothing."""
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else None


def label_scores(
    truth: np.ndarray, result: np.ndarray, within: Range, labels: Sequence[int], spacing: Sequence[float]
) -> dict[int, LabelScore]:
    """Scores of each label on the unlabelled slices of a range; labels that neither side has there are left out.

    A label that only one side has there counts as Dice 0, and its HD95 as the diagonal of the label's box in `truth`
    (the whole case): so that a method gains nothing by leaving out difficult labels.

    Parameters
    ----------
    spacing : three floats
        mm between slices, rows and columns.
    """
    counted = list(within.unlabelled)
    found = dice_by_label(truth[counted], result[counted], labels)
    boxes = find_objects(truth)
    part = slice(within.start, within.stop)
    local = np.array(counted, dtype=int) - within.start
    scores = {}
    for label, dice in found.items():
        distance = hd95(truth[part] == label, result[part] == label, local, spacing)
        one_sided = distance is None
        if distance is None:
            distance = _diagonal(boxes[label - 1], spacing)
        scores[label] = LabelScore(dice, distance, one_sided)
    return scores


def _diagonal(box: Sequence[slice], spacing: Sequence[float]) -> float:
    return math.hypot(*((side.stop - side.start) * mm for side, mm in zip(box, spacing, strict=True)))


def hd95(truth: np.ndarray, result: np.ndarray, slices: Sequence[int], spacing: Sequence[float]) -> float | None:
    """Symmetric 95th percentile surface distance of two masks, counted from the surface voxels on some slices.

    Surface voxels are those with a face neighbour outside the mask, in 3D; the ends of the array are outside. From
    each one on `slices` the distance to the nearest surface voxel of the other mask, on whatever slice, is taken; the
    greater one of both sides' 95th percentiles is the result (the robust Hausdorff distance of Nikolov et al. 2018).

    Parameters
    ----------
    truth, result : bool ndarrays, shape [n, h, w]
    slices : sequence of int
    spacing : three floats, mm

    Returns
    -------
    mm, or None where only one of the masks has a voxel on the slices
    """
    slices = np.asarray(slices, dtype=int)
    if not (truth[slices].any() and result[slices].any()):
        return None
    (box,) = find_objects((truth | result).view(np.uint8))
    points = [np.argwhere(surface(mask[box])) for mask in (truth, result)]
    lengths = np.asarray(spacing)
    counted = [own[np.isin(own[:, 0], slices - box[0].start)] for own in points]
    directed = [
        np.percentile(KDTree(other * lengths).query(own * lengths)[0], 95)
        for own, other in zip(counted, points[::-1], strict=True)
    ]
    return float(max(directed))


def surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of a bool mask `[n, h, w]` with a face neighbour outside it or beyond the array."""
    return mask & ~binary_erosion(mask)


def rank_correlation(
    truth: np.ndarray, result: np.ndarray, confidence: np.ndarray, slices: Sequence[int], labels: Sequence[int]
) -> float | None:
    """Spearman correlation over slices of confidence and true Dice: 1 if confidence ranks slices as Dice does.

    A slice's confidence is that by which the review is ordered. Its Dice is the mean over the labels that either side
    has there. Slices without predicted foreground are left out, and so is (None) a ranking of fewer than `MIN_SLICES`
    slices or of equal values.

    Parameters
    ----------
    confidence : float ndarray, shape [n, h, w], 0..1
    """
    pairs = []
    for index in slices:
        dice = mean(dice_by_label(truth[index], result[index], labels).values())
        if dice is not None and result[index].any():
            pairs.append((slice_confidence(result[index], confidence[index]), dice))
    if len(pairs) < MIN_SLICES or 0 in np.ptp(pairs, axis=0):
        return None
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def calibration_error(
    truth: np.ndarray, result: np.ndarray, confidence: np.ndarray, slices: Sequence[int]
) -> float | None:
    """Expected calibration error: difference between the confidence of voxels and how often they are correct.

    Voxels in and within `MARGIN_PIXELS` of the predicted foreground, in `BINS` equal bins of confidence (Guo et al.
    2017, arXiv 1706.04599); 0 is best. None without predicted foreground.

    Parameters
    ----------
    confidence : float ndarray, shape [n, h, w], 0..1
    """
    sums = np.zeros((3, BINS))
    for index in slices:
        near = _near(result[index])
        confidences, right = confidence[index][near], truth[index][near] == result[index][near]
        bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
        sums += [np.bincount(bins, weights, BINS) for weights in (None, confidences, right)]
    count, confidences, right = sums
    return float(np.abs(confidences - right).sum() / count.sum()) if count.any() else None


def _near(labels: np.ndarray) -> np.ndarray:
    """In and around the foreground of a slice."""
    near: np.ndarray = binary_dilation(labels != 0, iterations=MARGIN_PIXELS)
    return near
