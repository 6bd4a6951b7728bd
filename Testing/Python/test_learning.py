"""Held-out slices stay held out: nothing that fills or scores one had its labels as a target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt import training as learning
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


def swapped(support: Support, row: int) -> Support:
    """The same with two labels of one labelled slice exchanged: all that lies around them stays."""
    masks = support.masks.copy()
    first, second = support.labels[:2]
    for label, other in ((first, second), (second, first)):
        masks[row][support.masks[row] == label] = other
    assert (masks[row] != support.masks[row]).any()
    return Support(support.axis, support.indices, masks, support.labels, support.annotated)


@pytest.mark.parametrize("row", [2, 3])
def test_candidates_scored_on_a_slice_have_not_used_its_labels(row: int) -> None:
    config = AdaptConfig().replace("candidates.equalised_share", 0.0)  # one contrast serves all slices
    volume, support = small()
    index = support.indices[row]
    ((_, probabilities),), ((_, of_others),) = (
        list(CandidatePool(volume, one, config.candidates).neighbours_of(row).candidates([index]))
        for one in (support, swapped(support, row))
    )
    np.testing.assert_array_equal(probabilities, of_others)


def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[TrainingSlice], FittedNetwork]]:
    """What networks learn from, and those networks, as they are fitted from now on."""
    found = []

    def noted(stack: Stack, examples: Sequence[TrainingSlice], *rest: object, **named: object) -> FittedNetwork:
        found.append((examples, fit(stack, examples, *rest, **named)))
        return found[-1][1]

    monkeypatch.setattr("fewshot_annotate.engines.adapt.fitting.fit", noted)
    return found


def test_a_network_scored_on_slices_is_trained_neither_on_them_nor_on_predictions_derived_from_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, support = small()
    fitted, judged = fits(monkeypatch), []

    def hidden(
        log_probs: np.ndarray,
        row: int,
        pool: CandidatePool,
        network: learning.OptionalNetwork,
        *rest: object,
    ) -> learning.HeldOutCandidates:
        judged.append((support.indices[row], network.fitted))
        return of(log_probs, row, pool, network, *rest)

    of = learning.held_out_candidates
    monkeypatch.setattr(learning, "held_out_candidates", hidden)
    engine = Adapt(options={"steps": 2})
    engine.prepare(volume, support)
    next(engine.predict(support.unlabelled(support.labelled_range())))
    assert {index for index, _ in judged} == set(support.indices[1:-1])
    for index, network in judged:
        (seen,) = [examples for examples, one in fitted if one is network]
        assert seen
        assert not any(index in labelled_around(example.index, support.indices) for example in seen)
    of_slices = [examples for examples, _ in fitted if any(example.labelled for example in examples)]
    whole = max(of_slices, key=len)
    assert {example.index for example in whole} == set(range(support.indices[-1] + 1))


def test_weights_for_a_held_out_slice_are_chosen_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, support = small()
    asked, groups = [], []

    def choosing(counts_per_slice: Sequence[object], *rest: object) -> learning.FusionWeights:
        asked.append(len(counts_per_slice))
        return choose(counts_per_slice, *rest)

    def weighing(hidden: Sequence[Sequence[object]], *rest: object) -> tuple[object, object]:
        groups.extend(map(len, hidden))
        return weigh(hidden, *rest)

    choose, weigh = learning.choose_weights, learning.fit_fusion
    monkeypatch.setattr(learning, "choose_weights", choosing)
    monkeypatch.setattr(learning, "fit_fusion", weighing)
    engine = Adapt(options={"steps": 1})
    engine.prepare(volume, support)
    next(engine.predict(support.unlabelled(support.labelled_range())))
    assert asked == [sum(groups), *(sum(groups) - size for size in groups)]
