"""Brightness of slices relative to each other, as it varies in MR images whose slices are acquired one by one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..channels import ChannelSlices

# Gains are returned if adjacent slices of a channel differ by this, in log intensity. CT has less than 0.01, cine MR
# often 0.3.
MIN_LOG_DIFFERENCE = 0.1
# Slices are compared in square blocks of this side, so that outlines which move a little do not matter.
BLOCK_PIXELS = 4
# Blocks are compared if both are brighter than this; without this number of them, slices count as equally bright.
MIN_INTENSITY = 0.05
MIN_BLOCKS = 16


def brightness_gains(slices: ChannelSlices, window: tuple[slice, slice]) -> tuple[tuple[float, ...], ...]:
    """For each channel, the factor of the intensities of each slice that makes adjacent slices equally bright.

    Compared are the blocks that are among the brighter half of both slices. The mean logarithm of the gains is 0.
    Empty if adjacent slices hardly differ in any channel.

    Parameters
    ----------
    slices : ChannelSlices
    window : (slice, slice)
        Crop of the slices that is considered.
    """
    differences = [_log_differences(slices, channel, window) for channel in range(slices.channels)]
    if max(np.abs(of_channel).max(initial=0) for of_channel in differences) < MIN_LOG_DIFFERENCE:
        return ()
    brightness = [np.append(0, np.cumsum(of_channel)) for of_channel in differences]
    return tuple(tuple(np.exp(of_channel.mean() - of_channel).tolist()) for of_channel in brightness)


def _log_differences(slices: ChannelSlices, channel: int, window: tuple[slice, slice]) -> np.ndarray:
    """By how much each slice is brighter than the one before, in log intensity, float `[slices - 1]`."""
    blocks = (_blocks(slices.image(channel, index, window)) for index in range(len(slices)))
    return np.array([_log_difference(before, after) for before, after in pairwise(blocks)])


def _log_difference(before: np.ndarray, after: np.ndarray) -> float:
    compared = (before > MIN_INTENSITY) & (after > MIN_INTENSITY)
    if np.count_nonzero(compared) < MIN_BLOCKS:
        return 0.0
    before, after = before[compared], after[compared]
    bright = (before >= np.median(before)) & (after >= np.median(after))
    return float(np.median(np.log(after[bright] / before[bright]))) if bright.any() else 0.0


def _blocks(image: np.ndarray) -> np.ndarray:
    """Mean intensity of each block, float `[h / BLOCK_PIXELS, w / BLOCK_PIXELS]`; incomplete blocks are left out."""
    rows, columns = (size // BLOCK_PIXELS for size in image.shape)
    complete = image[: rows * BLOCK_PIXELS, : columns * BLOCK_PIXELS]
    blocks: np.ndarray = complete.reshape(rows, BLOCK_PIXELS, columns, BLOCK_PIXELS).mean(axis=(1, 3))
    return blocks
