"""Held-out slices: whatever predicts or scores one has not been trained on its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt import fusion_fit, training
from fewshot_annotate.engines.adapt.candidates import CandidatePool
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.adapt.fitting import fit
from fewshot_annotate.engines.adapt.neighbours import labelled_around
from fewshot_annotate.engines.adapt.network import FittedNetwork
from fewshot_annotate.engines.adapt.stack import Stack, TrainingSlice
from support.labels import small_case

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
SPACING = 4


def small() -> tuple[Volume, Support]:
    """A part of a real volume with every n-th of its slices labelled."""
    volume, label_map = small_case()
    middle = len(volume.array) // 2
    part = slice(middle - 10, middle + 11)
    image, labels = volume.array[part], label_map.array[part]
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), range(0, len(labels), SPACING))
    return Volume(np.ascontiguousarray(image), geometry), support


def swapped(support: Support, support_index: int) -> Support:
    """A support in which two labels of one slice are exchanged, and the background stays."""
    masks = support.masks.copy()
    first, second = support.labels[:2]
    for label, other in ((first, second), (second, first)):
        masks[support_index][support.masks[support_index] == label] = other
    assert (masks[support_index] != support.masks[support_index]).any()
    return Support(support.axis, support.indices, masks, support.labels, support.annotated)


@pytest.mark.parametrize("support_index", [2, 3])
def test_candidates_scored_on_a_slice_have_not_used_its_labels(support_index: int) -> None:
    config = AdaptConfig().replace("candidates.equalised_share", 0.0)  # one contrast serves all slices
    volume, support = small()
    index = support.indices[support_index]
    ((_, probabilities),), ((_, of_swapped),) = (
        list(CandidatePool(volume, one, config.candidates).neighbours_of(support_index).candidates([index]))
        for one in (support, swapped(support, support_index))
    )
    np.testing.assert_array_equal(probabilities, of_swapped)


def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[TrainingSlice], FittedNetwork]]:
    """Training slices and network of each fit from now on."""
    found = []

    def recording_fit(
        stack: Stack, examples: Sequence[TrainingSlice], *arguments: object, **keywords: object
    ) -> FittedNetwork:
        found.append((examples, fit(stack, examples, *arguments, **keywords)))
        return found[-1][1]

    monkeypatch.setattr("fewshot_annotate.engines.adapt.fitting.fit", recording_fit)
    return found


def test_a_network_scored_on_slices_is_trained_neither_on_them_nor_on_predictions_derived_from_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, support = small()
    fitted, scored = fits(monkeypatch), []

    def recording_candidates(
        log_probs: np.ndarray,
        support_index: int,
        pool: CandidatePool,
        network: training.OptionalNetwork,
        *arguments: object,
    ) -> training.HeldOutCandidates:
        scored.append((support.indices[support_index], network.fitted))
        return held_out_candidates(log_probs, support_index, pool, network, *arguments)

    held_out_candidates = training.held_out_candidates
    monkeypatch.setattr(training, "held_out_candidates", recording_candidates)
    engine = Adapt(options={"steps": 2})
    engine.prepare(volume, support)
    next(engine.predict(support.unlabelled(support.labelled_range())))
    assert {index for index, _ in scored} == set(support.indices[1:-1])
    for index, network in scored:
        (used,) = [examples for examples, other in fitted if other is network]
        assert used
        assert not any(index in labelled_around(example.index, support.indices) for example in used)
    of_slices = [examples for examples, _ in fitted if any(example.labelled for example in examples)]
    whole = max(of_slices, key=len)
    assert {example.index for example in whole} == set(range(support.indices[-1] + 1))


def test_weights_for_a_held_out_slice_are_chosen_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, support = small()
    slice_counts, groups = [], []

    def recording_choice(counts_per_slice: Sequence[object], *arguments: object) -> training.FusionWeights:
        slice_counts.append(len(counts_per_slice))
        return choose(counts_per_slice, *arguments)

    def recording_fusion(held_out: Sequence[Sequence[object]], *arguments: object) -> tuple[object, object]:
        groups.extend(map(len, held_out))
        return fit_fusion(held_out, *arguments)

    choose, fit_fusion = fusion_fit.choose_weights, training.fit_fusion
    monkeypatch.setattr(fusion_fit, "choose_weights", recording_choice)
    monkeypatch.setattr(training, "fit_fusion", recording_fusion)
    engine = Adapt(options={"steps": 1})
    engine.prepare(volume, support)
    next(engine.predict(support.unlabelled(support.labelled_range())))
    assert slice_counts == [sum(groups), *(sum(groups) - size for size in groups)]
