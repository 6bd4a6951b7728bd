"""What networks that look at a filled stack from the sides do for it: a real volume with errors made on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from FewShotAnnotateLib.engines.multiplanar import CERTAIN, FULL_WEIGHT, Block, look, refined, weights
from FewShotAnnotateLib.engines.network import FLOOR
from FewShotAnnotateLib.review.metrics import dice
from support.data import case_or_mni152, load_case

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
SPACING = 6
SURE = 2.0
RNG = np.random.default_rng(0)


def part_of_a_case() -> tuple[np.ndarray, np.ndarray, int]:
    """Image 0..1, rows of labels, both `[n, h, w]`, and how many labels there are."""
    volume, label_map = load_case(case_or_mni152("mr_hippocampus_003"))
    image, labels = volume.array[:31].astype(np.float32), label_map.array[:31]
    if image.shape[1] > 100:  # the MNI152 brain
        image, labels = image[:, ::3, ::3], labels[:, ::3, ::3]
    values = np.unique(labels)
    return (image - image.min()) / np.ptp(image), np.searchsorted(values, labels), len(values) - 1


def shaken(rows: np.ndarray, labels: int, most: int) -> np.ndarray:
    """Logits of a slice that is moved by up to `most` pixels each way, each time by others."""
    logits = np.zeros((labels + 1, *rows.shape), dtype=np.float32)
    moved = np.roll(rows, RNG.integers(-most, most + 1, 2), axis=(0, 1))
    logits[1:] = np.where(moved == np.arange(1, labels + 1)[:, None, None], SURE, -SURE)
    return logits


def block_of(most: int) -> tuple[Block, np.ndarray, list[int]]:
    """A block whose slices between the labelled ones are shaken, its truth, and those slices."""
    image, truth, labels = part_of_a_case()
    labelled = range(0, len(truth), SPACING)
    block = Block.of(range(len(truth)), labels, image.__getitem__, truth.__getitem__, labelled)
    between = [index for index in range(len(truth)) if index not in labelled]
    for index in between:
        block.put(index, shaken(truth[index], labels, most))
    return block, truth, between


def seen(block: Block, steps: int = 75, seed: int = 0) -> np.ndarray | None:
    return look(block, 1.0, torch.device("cpu"), steps, None, seed, lambda part: None)


def mean_dice(truth: np.ndarray, told: np.ndarray) -> float:
    return float(np.mean([dice(truth, told, row) for row in range(1, truth.max() + 1)]))


def test_errors_that_differ_from_slice_to_slice_are_evened_out() -> None:
    block, truth, between = block_of(most=2)
    shaken_dice = mean_dice(truth[between], block.logits[between].argmax(axis=1))
    errors = [1 - shaken_dice] * (block.logits.shape[1] - 1)
    evened = np.stack([logits.argmax(axis=0) for _, logits in refined(block, seen(block), errors, between)])
    assert mean_dice(truth[between], evened) > shaken_dice + 0.02


def test_a_label_counts_the_less_the_worse_it_is_told_on_labelled_slices() -> None:
    block, _, _ = block_of(most=0)
    right = block.logits[:, 1:]
    wrong = right.copy()
    wrong[:, 0] = -CERTAIN
    labels = right.shape[1]
    assert weights(block, right, [0.2] * labels) == pytest.approx(FULL_WEIGHT, abs=0.7)
    assert weights(block, wrong, [0.2] * labels)[0] == 0
    assert (weights(block, wrong, [0.2] * labels)[1:] > 0).all()


def test_nothing_changes_where_there_was_no_look() -> None:
    block, _, between = block_of(most=1)
    for index, logits in refined(block, None, [0.1] * (block.logits.shape[1] - 1), between):
        np.testing.assert_array_equal(logits, block.logits[index])


def test_pixels_that_nobody_looks_at_hold_no_label() -> None:
    block, _, _ = block_of(most=0)
    sides = seen(block, steps=1)
    assert sides is not None
    rows, columns = (sorted(set(range(sides.shape[2 + axis])) - set(block.planes(axis))) for axis in (0, 1))
    assert rows and columns
    assert sides[:, :, rows][..., columns] == pytest.approx(np.log(FLOOR), abs=0.01)


def test_a_stack_without_any_label_is_not_looked_at() -> None:
    image, truth, labels = part_of_a_case()
    block = Block.of(range(len(image)), labels, image.__getitem__, np.zeros_like(truth).__getitem__, [0, 6])
    assert seen(block, steps=1) is None


def test_the_same_seed_sees_the_same_and_another_something_else() -> None:
    block, _, _ = block_of(most=1)
    first, second, other = (seen(block, steps=5, seed=seed) for seed in (0, 0, 1))
    assert first is not None and second is not None and other is not None
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_all_of_the_work_is_told() -> None:
    block, _, _ = block_of(most=1)
    told: list[float] = []
    look(block, 1.0, torch.device("cpu"), 5, None, 0, told.append)
    assert sum(told) == pytest.approx(1)
