"""Colours of labels with a name: those of Slicer for known structures, and all different."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fewshot_annotate.core.palette import cielab, label_colour
from fewshot_annotate.core.structures import colours_by_name

LIVER, SPLEEN = (221 / 255, 130 / 255, 101 / 255), (157 / 255, 108 / 255, 162 / 255)


@pytest.mark.parametrize(("name", "colour"), [("liver", LIVER), ("Liver_mask", LIVER), ("spleen", SPLEEN)])
def test_a_known_structure_has_the_colour_of_slicers_terminology(name: str, colour: tuple[float, ...]) -> None:
    assert colours_by_name({4: name})[4] == pytest.approx(colour)


def test_an_unknown_or_nearly_grey_structure_has_a_generated_colour() -> None:
    assert colours_by_name({3: "thing", 5: "gray matter"}) == {3: label_colour(3), 5: label_colour(5)}


def test_labels_have_different_colours_though_slicer_recommends_the_same() -> None:
    names = ["left kidney", "right kidney", "liver", "stomach", "spleen", *(f"part {n}" for n in range(40))]
    colours = colours_by_name(dict(enumerate(names, start=1)), used=[LIVER])
    lab = cielab(np.array([*colours.values(), LIVER]))
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(lab, 2)) >= 12
