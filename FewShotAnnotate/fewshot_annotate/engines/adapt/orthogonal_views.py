"""Multi-planar refinement of filled slices by networks in the two orthogonal views.

Slices are filled one by one, so errors differ between slices and look like noise in the two planes that cross the
slices. The network that filled the slices is fitted for a few more steps on the result in such planes. It learns what
is consistent with the images along the stack, and is stopped before it fits the noise. After Perslev et al., "One
network to segment them all: multi-planar U-Net" (MICCAI 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy
import torch

from ..threads import ENGINE_THREADS
from .config import NetworkConfig, OrthogonalConfig
from .fitting import fit
from .network import FittedNetwork
from .stack import Stack, TrainingSlice
from .through_plane import labelled_logits

# Axes that hold row, column and slice in planes of each view, see `Stack`.
ORDER = ((2, 1, 0), (1, 2, 0))


@dataclass(frozen=True)
class Slab:
    """Consecutive slices, filled or labelled, cropped to the window.

    Attributes
    ----------
    first : int
        Index of the first slice.
    images : float16 ndarray, shape [n, channels, h, w]
        Intensities from 0 to 1.
    logits : float16 ndarray, shape [n, labels + 1, h, w]
        Unnormalised log-probabilities; background is 0.
    truth : mapping of int to integer ndarray, shape [h, w]
        Label index of each pixel of the labelled slices, by position in the slab.
    config : OrthogonalConfig
    """

    first: int
    images: np.ndarray
    logits: np.ndarray
    truth: Mapping[int, np.ndarray]
    config: OrthogonalConfig

    @classmethod
    def of(
        cls,
        slices: range,
        labels: int,
        image: Callable[[int], np.ndarray],
        truth: Callable[[int], np.ndarray],
        labelled: Collection[int],
        config: OrthogonalConfig,
    ) -> Slab:
        """A slab in which only the labelled slices are filled; `image` and `truth` are called with slice indices."""
        images = np.stack([image(index).astype(np.float16) for index in slices])
        logits = np.zeros((len(slices), labels + 1, *images.shape[2:]), dtype=np.float16)
        shown = {position: truth(index) for position, index in enumerate(slices) if index in labelled}
        for position, label_indices in shown.items():
            logits[position] = labelled_logits(label_indices, labels + 1, config.labelled_log_odds)
        return cls(slices[0], images, logits, shown, config)

    def holds(self, index: int) -> bool:
        """Whether the slab contains a slice, by slice index."""
        return self.first <= index < self.first + len(self.images)

    def put(self, index: int, logits: np.ndarray) -> None:
        """Set the logits of a slice, by slice index."""
        self.logits[index - self.first] = logits

    def unrefined(self, index: int) -> np.ndarray:
        """The logits of a slice, by slice index, float32 `[labels + 1, h, w]`."""
        logits: np.ndarray = self.logits[index - self.first].astype(np.float32)
        return logits

    def planes(self) -> tuple[list[int], list[int]]:
        """Rows, and columns, whose orthogonal plane may show a label."""
        shown = np.zeros(self.logits.shape[2:], dtype=bool)
        for logits in self.logits:  # one after the other: there may be gigabytes
            shown |= logits[1:].max(axis=0) > self.config.min_plane_log_odds
        return np.flatnonzero(shown.any(axis=1)).tolist(), np.flatnonzero(shown.any(axis=0)).tolist()

    def plane(self, axis: int, row_or_column: int) -> np.ndarray:
        """Probabilities in the orthogonal plane at a row or column, float32 `[labels + 1, n, w or h]`."""
        logits = self.logits.take(row_or_column, axis=axis + 2).astype(np.float32).transpose(1, 0, 2)
        probabilities: np.ndarray = scipy.special.softmax(logits, axis=0)
        return probabilities


def predict_orthogonal(
    slab: Slab,
    stretch: float,
    device: torch.device,
    steps: int,
    seconds: float | None,
    seed: int,
    done: Callable[[float], object],
    config: NetworkConfig,
    start: FittedNetwork | None = None,
    share_of_fits: float = 0.5,
) -> np.ndarray | None:
    """Fit a network in each orthogonal view of a slab and predict the slab.

    Parameters
    ----------
    slab : Slab
    stretch : float
        Factor by which planes are enlarged along the stack.
    device : torch.device
    steps : int
        Steps of each fit.
    seconds : float or None
        Time limit of each fit.
    seed : int
    done : function
        Called from any thread with the fraction of all work, 0..1, that was just completed; its exceptions end it.
    config : NetworkConfig
    start : FittedNetwork, optional
        Network that filled the slices, whose weights are the initial ones.
    share_of_fits : float
        Fraction of the work, 0..1, that is in the fits.

    Returns
    -------
    float16 ndarray, shape [n, labels, h, w], or None
        Log-odds of each label against background, averaged over both views and multiplied by the fusion weight of
        their networks; None if the slab shows no label.
    """
    count, label_count, *shape = slab.logits.shape
    seen = slab.planes()
    if not all(seen):
        return None
    # In planes that are not predicted, no label is probable.
    min_log_prob = np.log(np.float32(config.floor))
    log_odds = np.full((count, label_count - 1, *shape), min_log_prob, dtype=np.float16)

    def fitted(axis: int) -> FittedNetwork:
        stack = _stack_of_planes(slab, axis, stretch, device, config)
        examples = _training_planes(slab, axis, seen[axis], stack)
        return fit(stack, examples, steps, seed, lambda fraction: done(fraction * share_of_fits / 2), seconds, start)

    with ThreadPoolExecutor(ENGINE_THREADS) as threads:
        networks = list(threads.map(fitted, (0, 1)))
        for axis, network in enumerate(networks):

            def view(row_or_column: int, axis: int = axis, network: FittedNetwork = network) -> None:
                log_probs = network.predict(row_or_column, slab.plane(axis, row_or_column))
                plane_log_odds = (0.5 * (log_probs[1:] - log_probs[:1] - min_log_prob)).transpose(1, 0, 2)
                log_odds[(slice(None),) * (axis + 2) + (row_or_column,)] += plane_log_odds.astype(np.float16)
                done((1 - share_of_fits) / (2 * len(seen[axis])))

            list(threads.map(view, seen[axis]))
    fusion_weight = min(network.fusion_weight for network in networks)
    if fusion_weight < 1:
        log_odds *= np.float16(fusion_weight)
    return log_odds


def _stack_of_planes(slab: Slab, axis: int, stretch: float, device: torch.device, config: NetworkConfig) -> Stack:
    """The orthogonal planes at all rows (axis 0) or columns (axis 1) as input of a network."""
    count, _, *shape = slab.logits.shape
    return Stack(
        lambda row_or_column: slab.images.take(row_or_column, axis=axis + 2).astype(np.float32).swapaxes(0, 1),
        shape[axis],
        (count, shape[1 - axis]),
        device,
        config,
        (stretch, 1.0),
        (config.prior_blur_pixels, 0.0),  # along the stack only: within slices, outlines are nearly correct
        ORDER[axis],
    )


def _training_planes(slab: Slab, axis: int, seen: Sequence[int], stack: Stack) -> list[TrainingSlice]:
    """Evenly spread planes of those `seen`, with the probabilities of the slab as prior and target."""
    positions = {round(position) for position in np.linspace(0, len(seen) - 1, slab.config.examples)}
    examples = []
    for row_or_column in (seen[position] for position in sorted(positions)):
        plane = slab.plane(axis, row_or_column)
        examples.append(stack.example(row_or_column, plane, plane, False))
    return examples


def view_weights(slab: Slab, log_odds: np.ndarray, errors: Sequence[float]) -> np.ndarray:
    """Weight of the orthogonal views for each label, which falls with their error on labelled slices.

    The networks were also fitted on these slices, so the error is due to smoothing or to too few steps. It is
    acceptable as long as it is smaller than the expected error on query slices.

    Parameters
    ----------
    slab : Slab
    log_odds : ndarray
        From `predict_orthogonal`.
    errors : sequence of float
        1 - expected Dice of each label on query slices.

    Returns
    -------
    float32 ndarray, shape [labels]
    """
    label_count = log_odds.shape[1] + 1
    error_voxels, voxels = np.zeros((2, label_count))
    for position, truth in slab.truth.items():
        slice_log_odds = log_odds[position]
        predicted = np.where(slice_log_odds.max(axis=0) > 0, slice_log_odds.argmax(axis=0) + 1, 0)
        correct = np.bincount(truth[predicted == truth], minlength=label_count)
        sizes = np.bincount(truth.reshape(-1), minlength=label_count) + np.bincount(
            predicted.reshape(-1), minlength=label_count
        )
        error_voxels += sizes / 2 - correct
        voxels += sizes / 2
    config = slab.config
    expected = np.maximum(errors, 1e-3)
    prior = config.prior_voxels * config.prior_error_ratio * expected
    error = (error_voxels[1:] + prior) / (voxels[1:] + config.prior_voxels)
    share = np.clip(1 - error / (config.zero_weight_error_ratio * expected), 0, 1)
    result: np.ndarray = (config.max_weight * share).astype(np.float32)
    return result


def refined_logits(
    slab: Slab, log_odds: np.ndarray | None, errors: Sequence[float], total_weight: float
) -> Callable[[int], np.ndarray]:
    """Add the predictions in the orthogonal views, weighted by `weights`, to the logits of slices.

    At each pixel the weight of the most probable foreground label is used for all labels, so that neighbouring labels
    compete on equal terms. The sum is scaled to `total_weight`, the sum of the weights in the logits of the slab: the
    calibration was fitted to logits of this weight, and would be too certain with more predictions.

    Returns
    -------
    function
        Slice index to its logits, float32 `[labels + 1, h, w]`.
    """
    if log_odds is None:
        return slab.unrefined
    weight = view_weights(slab, log_odds, errors)

    def refined(index: int) -> np.ndarray:
        logits = slab.unrefined(index)
        added = weight[logits[1:].argmax(axis=0)]
        logits[1:] = (logits[1:] + added * log_odds[index - slab.first]) * (total_weight / (total_weight + added))
        return logits

    return refined
