"""Choice of the images that optical flow compares, by propagation between labelled slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np

from ...core.dice import dice_of_masks
from ...core.support import Support
from ...core.volume import Geometry
from ..channels import ChannelSlices
from ..threads import ENGINE_THREADS
from .brightness import brightness_gains
from .compared_images import ComparedImages
from .composed_flow import FLOW_REGULARISATION, composed_fields
from .label_vote import Box, Source, label_boxes, vote

# Adjacent slices are not compared if the slice spacing is more than this many pixels, because they show other
# anatomy. `ablation.py --parts propagate.image_choice` compares this, the limits and the thresholds of the trial
# with smaller and larger values.
MAX_SLICE_DISTANCE_PIXELS = 2.5
# Comparing adjacent slices is tried on a few pairs of labelled slices, limited in the total number of slices between
# them and subsampled to a maximum side length, to take a second or two. It is used if the mean gain in Dice and the
# fraction of labels that gain exceed the thresholds.
TRIAL_PAIRS = 3
TRIAL_SLICES = 24
TRIAL_SIDE_PIXELS = 128
MIN_ADJACENT_DICE_GAIN = 0.012
MIN_WIN_RATE = 0.6
# Slices are made equally bright if that increases the mean Dice by this. With 0.02, hearts become worse as often as
# better; with 0.05 rarely, and by 0.015 at most.
MIN_BRIGHTNESS_DICE_GAIN = 0.05
# All channels are compared unless one alone has a mean Dice higher by this on the same pairs. With the thresholds of
# adjacent slices instead, a coarse and noisy repeat of the brain costs 0.03 of Dice: `channels.py --engines propagate
# --case mr_brain_t1_freesurfer --coarser 2`.
MIN_CHANNEL_DICE_GAIN = 0.002


def choose_images(
    slices: ChannelSlices,
    support: Support,
    window: tuple[slice, slice],
    boxes: Sequence[Mapping[int, Box]],
    geometry: Geometry,
) -> ComparedImages:
    """The images whose comparison is best for propagation between consecutive labelled slices.

    All channels are compared with equal weights, unless one alone is better; and adjacent slices, if that is better.
    Slices that differ in brightness are made equally bright, if that is better.

    Parameters
    ----------
    slices : ChannelSlices
    support : Support
    window : (slice, slice)
    boxes : sequence of mapping of int to two slices
        Bounding box of each label on each labelled slice, in the window.
    geometry : Geometry
        Of the volume.
    """
    count = slices.channels
    best = ComparedImages.equally(range(count), count)
    shown = support.annotated & np.array([[label in of_slice for label in support.labels] for of_slice in boxes])
    shared = shown[:-1] & shown[1:]
    pairs = np.flatnonzero(shared.any(axis=1)).tolist()
    slice_spacing, *pixel_spacing = support.axis.spacing(geometry)
    try_adjacent = slice_spacing <= MAX_SLICE_DISTANCE_PIXELS * min(pixel_spacing)
    single_channels = [ComparedImages.equally([channel], count) for channel in range(count) if count > 1]
    gains = brightness_gains(slices, window) if pairs else ()
    if not pairs or not (single_channels or try_adjacent or gains):
        return best
    trials = _Trials(slices, support, window, _trial_pairs(pairs, support.indices), shared)
    with ThreadPoolExecutor(ENGINE_THREADS) as pool:
        best_dice = trials.dice(best, pool)
        equally_bright = replace(best, gains=gains)
        if gains and (dice := trials.dice(equally_bright, pool)).mean() > best_dice.mean() + MIN_BRIGHTNESS_DICE_GAIN:
            best, best_dice = equally_bright, dice
        for compared in single_channels:
            compared = replace(compared, gains=best.gains)
            dice = trials.dice(compared, pool)
            if dice.mean() > best_dice.mean() + MIN_CHANNEL_DICE_GAIN:
                best, best_dice = compared, dice
        with_adjacent = replace(best, adjacent=1)
        return with_adjacent if try_adjacent and _is_better(trials.dice(with_adjacent, pool), best_dice) else best


def _trial_pairs(pairs: Sequence[int], labelled: Sequence[int]) -> list[int]:
    """Evenly spread pairs of consecutive labelled slices, each given by the support index of its first slice."""
    gap = float(np.median(np.diff(labelled)))
    count = int(np.clip(TRIAL_SLICES // gap, 1, TRIAL_PAIRS))
    return sorted({pairs[round(position)] for position in np.linspace(0, len(pairs) - 1, count)})


class _Trials:
    """Propagation between pairs of labelled slices, in both directions, at a low resolution.

    Parameters
    ----------
    slices : ChannelSlices
    support : Support
    window : (slice, slice)
    pairs : sequence of int
        Support index of the first slice of each pair.
    shared : bool ndarray, shape [labelled slices - 1, labels]
        Whether a labelled slice and the next one both show a label.
    """

    def __init__(
        self,
        slices: ChannelSlices,
        support: Support,
        window: tuple[slice, slice],
        pairs: Sequence[int],
        shared: np.ndarray,
    ) -> None:
        self._slices = slices
        self._support = support
        self._window = window
        self._shared = shared
        self._masks = support.masks[(slice(None), *window)]
        self._transfers = list(chain.from_iterable([(pair, pair + 1), (pair + 1, pair)] for pair in pairs))
        stride = -(-max(self._masks.shape[1:]) // TRIAL_SIDE_PIXELS)
        self._subsampled = (slice(None), slice(None, None, stride), slice(None, None, stride))

    def dice(self, compared: ComparedImages, pool: ThreadPoolExecutor) -> np.ndarray:
        """Dice of each shared label of each transfer, float `[transfers * labels]`."""
        starts, ends = zip(*self._transfers, strict=True)
        return np.concatenate(list(pool.map(partial(self._transfer_dice, compared), starts, ends)))

    def _transfer_dice(self, compared: ComparedImages, start: int, end: int) -> np.ndarray:
        """Dice of each shared label, propagated from one labelled slice to another; both given by support index."""
        support = self._support

        def images(index: int) -> np.ndarray:
            return compared.of_slice(self._slices, index, self._window)[self._subsampled]

        source_index, target_index = support.indices[start], support.indices[end]
        mask, truth = self._masks[start][self._subsampled[1:]], self._masks[end][self._subsampled[1:]]
        distance = abs(target_index - source_index)
        field = composed_fields(images, source_index, [target_index], lambda *_: FLOW_REGULARISATION / distance)[
            target_index
        ]
        source = Source(images(source_index), mask, label_boxes(mask), field, distance)
        labels = [support.labels[label_index] for label_index in np.flatnonzero(self._shared[min(start, end)])]
        votes = vote(images(target_index), [source], labels)
        best = np.where(votes.sum(axis=0) > 0.5, votes.argmax(axis=0), -1)
        dice = []
        for number, label in enumerate(labels):
            dice.append(dice_of_masks(truth == label, best == number))
        return np.asarray(np.nan_to_num(dice))  # a label that subsampling left out of both counts as 0


def _is_better(dice: np.ndarray, other: np.ndarray) -> bool:
    """Whether the Dice of labels is clearly higher than another one."""
    gains = dice - other
    return bool(gains.mean() > MIN_ADJACENT_DICE_GAIN and (gains > 0).mean() > MIN_WIN_RATE)
