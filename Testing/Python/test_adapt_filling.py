"""Filling of query slices by `adapt` from fused logits."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt.candidates import CandidatePool
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.expected_time import AdaptTime
from fewshot_annotate.engines.adapt.filling import SliceFiller
from fewshot_annotate.engines.adapt.training import fit_support
from fewshot_annotate.engines.progress_counter import ProgressCounter


def disc_filler() -> tuple[SliceFiller, np.ndarray]:
    """A filler fitted to a disc on the first and last of five slices, and the fused logits of the middle one."""
    rows, columns = np.mgrid[:48, :48]
    labels = np.repeat(((rows - 24) ** 2 + (columns - 20) ** 2 < 15**2)[None], 5, axis=0).astype(np.uint8)
    geometry = Geometry(labels.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), [0, 4])
    config = AdaptConfig()
    pool = CandidatePool(Volume(labels.astype(np.float32), geometry), support, config.candidates)
    times = AdaptTime(pool.shape, (30, 30), 1, config)
    fit = fit_support(pool, [2], None, ProgressCounter(lambda fraction: None), times)
    filler = SliceFiller(pool, fit, config)
    ((_, logits),) = filler.logits([2])
    return filler, logits


def test_a_component_far_smaller_than_the_labelled_structure_becomes_background() -> None:
    filler, logits = disc_filler()
    whole = filler.probabilities(2, logits.copy()).argmax(axis=0)
    assert whole.sum() > 600
    speck = logits.copy()
    speck[1, 22:24, -3:] = speck[1].max()
    np.testing.assert_array_equal(filler.probabilities(2, speck).argmax(axis=0), whole)


def test_a_second_component_of_moderate_size_is_kept() -> None:
    filler, logits = disc_filler()
    part = logits.copy()
    part[1, :8, -8:] = part[1].max()
    assert filler.probabilities(2, part).argmax(axis=0)[:8, -8:].all()


def test_a_component_that_a_specialist_adds_is_removed_as_well() -> None:
    filler, logits = disc_filler()
    blended = filler.probabilities(2, logits.copy())
    whole = blended.argmax(axis=0)
    blended[1, 22:24, -3:] = 2.0
    np.testing.assert_array_equal(filler.without_small_components(2, blended).argmax(axis=0), whole)


def test_refinement_changes_labels_but_makes_none_more_certain() -> None:
    filler, logits = disc_filler()
    unrefined = logits.copy()
    unrefined[:, 22:26, 18:22] = 0
    unrefined[1, 22:26, 18:22] = 1e-3  # inside the disc, hardly more probable than background
    unrefined[:, 30, 20] = -unrefined[:, 30, 20]  # a wrong pixel
    before = filler.probabilities(2, unrefined)
    refined = filler.probabilities(2, logits.copy(), unrefined)
    alone = filler.probabilities(2, logits.copy())
    np.testing.assert_array_equal(refined.argmax(axis=0), alone.argmax(axis=0))
    np.testing.assert_array_equal(refined[:, 22:26, 18:22], before[:, 22:26, 18:22])
    np.testing.assert_array_equal(refined[:, 30, 20], alone[:, 30, 20])
