"""Multi-planar refinement: networks that look at a filled stack from the sides even it out.

Slices are filled one by one, so errors differ from slice to slice. In the two planes that cross the slices, those
errors are noise: the network that filled the slices, fitted for a few more steps on the result as it is seen from a
side, keeps what fits the images along the stack, and has no time to learn the rest. After Perslev et al., "One
network to segment them all: multi-planar U-Net" (MICCAI 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from .fusion import softmax
from .network import FLOOR, PRIOR_BLUR, FittedNetwork, Stack, fit
from .propagate import THREADS
from .through_plane import known_logits

# Planes of each direction that a network learns from at most.
EXAMPLES = 24
# Standard deviation of the prior's blur along the stack and across it, where slices are known to be about right.
BLUR = (PRIOR_BLUR[0], 0.0)
# Where row, column and slice are found in planes of each direction, see `Stack`.
ORDER = ((2, 1, 0), (1, 2, 0))
# Slices are stretched along the stack until voxels are as tall as wide, by this at most.
MOST_STRETCH = 4
# Log-odds of what is known for certain, on labelled slices.
CERTAIN = 12.0
# A plane is looked at if a label is as probable there as background somewhere.
SEEN = 0.0
# Weight of the networks for a label that they tell without error on labelled slices, and the part of the error to
# expect between them from which on they have none.
FULL_WEIGHT = 4.5
USELESS = 0.85
# What that error is taken to be before any voxel is seen, as part of the error to expect between them, and how many
# voxels that counts for.
USUAL_PART, USUAL_VOXELS = 0.4, 50.0


@dataclass(frozen=True)
class Block:
    """Slices that follow each other, filled or labelled, in the window.

    Attributes
    ----------
    first : int
        Index of the first slice.
    images : float16 ndarray, shape [n, h, w]
        Intensities from 0 to 1.
    logits : float16 ndarray, shape [n, labels + 1, h, w]
        Unnormalised log-probabilities; background is 0.
    truth : mapping of int to integer ndarray, shape [h, w]
        Row of each pixel's label on each labelled slice, by its place in the block.
    """

    first: int
    images: np.ndarray
    logits: np.ndarray
    truth: Mapping[int, np.ndarray]

    @classmethod
    def of(
        cls,
        slices: range,
        labels: int,
        image: Callable[[int], np.ndarray],
        truth: Callable[[int], np.ndarray],
        labelled: Collection[int],
    ) -> Block:
        """A block in which only the labelled slices are filled; `image` and `truth` by index in the stack."""
        images = np.stack([image(index).astype(np.float16) for index in slices])
        logits = np.zeros((len(slices), labels + 1, *images.shape[1:]), dtype=np.float16)
        shown = {place: truth(index) for place, index in enumerate(slices) if index in labelled}
        for place, rows in shown.items():
            logits[place] = known_logits(rows, labels + 1, CERTAIN)
        return cls(slices[0], images, logits, shown)

    def put(self, index: int, logits: np.ndarray) -> None:
        """Fill a slice of the stack."""
        self.logits[index - self.first] = logits

    def planes(self, axis: int) -> list[int]:
        """Places along axis 0 (rows) or 1 (columns) of the slices where there may be a label."""
        shown = np.zeros(self.logits.shape[2:], dtype=bool)
        for logits in self.logits:  # one after the other: there may be gigabytes
            shown |= (logits[1:] > SEEN).any(axis=0)
        return [int(place) for place in np.flatnonzero(shown.any(axis=1 - axis))]

    def plane(self, axis: int, place: int) -> np.ndarray:
        """Probabilities in the plane that crosses the slices there, float32 `[labels + 1, n, w or h]`."""
        return softmax(self.logits.take(place, axis=axis + 2).astype(np.float32).transpose(1, 0, 2))


def look(
    block: Block,
    stretch: float,
    device: torch.device,
    steps: int,
    seconds: float | None,
    seed: int,
    done: Callable[[float], object],
    start: FittedNetwork | None = None,
) -> np.ndarray | None:
    """What networks that look at a block from both sides make of it.

    Parameters
    ----------
    block : Block
    stretch : float
        Distance of slices over the size of a pixel.
    device : torch.device
    steps : int
        Of each fit.
    seconds : float or None
        Time limit of each fit.
    seed : int
    done : function
        Called often, from any thread, with the part of all work, 0..1, just done; what it raises ends the work.
    start : FittedNetwork, optional
        That both go on from: the one that filled the slices.

    Returns
    -------
    float16 ndarray, shape [n, labels, h, w], or None
        Log-odds of each label against background, the mean of both sides, as far as their networks have a say; None
        where there is no label at all.
    """
    count, rows, *shape = block.logits.shape
    taller = float(np.clip(round(stretch), 1, MOST_STRETCH))
    seen = {axis: block.planes(axis) for axis in (0, 1)}
    if not all(seen.values()):
        return None
    # Where nobody looks there is no label.
    nothing = np.log(np.float32(FLOOR))
    sides = np.full((count, rows - 1, *shape), nothing, dtype=np.float16)

    def fitted(axis: int) -> FittedNetwork:
        side = (count, shape[1 - axis])
        stack = Stack(
            lambda place: block.images.take(place, axis=axis + 1).astype(np.float32),
            shape[axis],
            side,
            device,
            (taller, 1.0),
            BLUR,
            ORDER[axis],
        )
        chosen = seen[axis]
        places = sorted({chosen[round(place)] for place in np.linspace(0, len(chosen) - 1, EXAMPLES)})
        examples = []
        for place in places:
            plane = block.plane(axis, place)
            examples.append(stack.example(place, plane, plane, False))
        return fit(stack, examples, steps, seed, lambda part: done(part / 4), seconds, start)

    with ThreadPoolExecutor(THREADS) as threads:
        networks = list(threads.map(fitted, (0, 1)))
        for axis, network in enumerate(networks):

            def view(place: int, axis: int = axis, network: FittedNetwork = network) -> None:
                logs = network.predict(place, block.plane(axis, place))
                odds = (0.5 * (logs[1:] - logs[:1] - nothing)).transpose(1, 0, 2)
                sides[(slice(None),) * (axis + 2) + (place,)] += odds.astype(np.float16)
                done(1 / (4 * len(seen[axis])))

            list(threads.map(view, seen[axis]))
    sides *= np.float16(min(network.say for network in networks))
    return sides


def weights(block: Block, sides: np.ndarray, errors: Sequence[float]) -> np.ndarray:
    """How much the look from the sides counts for each label: the less, the worse it tells labelled slices.

    They are in what the networks were fitted on, so what is wrong there is what they smooth away or had no time to
    learn. That is worth it while it is less than the error to expect between labelled slices.

    Parameters
    ----------
    block : Block
    sides : ndarray
        From `look`.
    errors : sequence of float
        1 - Dice to expect of each label between labelled slices.

    Returns
    -------
    float32 ndarray, shape [labels]
    """
    rows = sides.shape[1] + 1
    wrong, size = np.zeros((2, rows))
    for place, truth in block.truth.items():
        odds = sides[place]
        told = np.where(odds.max(axis=0) > 0, odds.argmax(axis=0) + 1, 0)
        right = np.bincount(truth[told == truth], minlength=rows)
        both = np.bincount(truth.reshape(-1), minlength=rows) + np.bincount(told.reshape(-1), minlength=rows)
        wrong += both / 2 - right
        size += both / 2
    expected = np.maximum(errors, 1e-3)
    own = (wrong[1:] + USUAL_VOXELS * USUAL_PART * expected) / (size[1:] + USUAL_VOXELS)
    result: np.ndarray = (FULL_WEIGHT * np.clip(1 - own / (USELESS * expected), 0, 1)).astype(np.float32)
    return result


def refined(
    block: Block, sides: np.ndarray | None, errors: Sequence[float], wanted: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Slice by slice of the stack: its logits and, weighed as in `weights`, what was seen from the sides, if it was.

    A pixel goes by the weight of the label it is, or is nearest to being: so labels next to each other compete on
    equal terms.

    Yields
    ------
    int, float32 ndarray, shape [labels + 1, h, w]
    """
    weight = None if sides is None else weights(block, sides, errors)
    for index in wanted:
        place = index - block.first
        logits = block.logits[place].astype(np.float32)
        if sides is not None and weight is not None:
            logits[1:] += weight[logits[1:].argmax(axis=0)] * sides[place]
        yield index, logits
