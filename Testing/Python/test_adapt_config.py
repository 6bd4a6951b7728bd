"""Settings of `adapt`: documented, used by the engine, and measured by the ablation benchmark."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt.candidates import CANDIDATES, CandidatePool
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.propagate import composed_flow, flow_propagation, image_choice, label_vote

sys.path.append(str(Path(__file__).parents[1] / "Benchmarks"))

from ablation import Design, Part, Result, parts, table
from constants import NOT_COMPARED, ConstantValue, own_value, tuned_constants

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
PROGRAM = Path(__file__).parents[1] / "Benchmarks" / "ablation.py"
CONFIG = AdaptConfig()
SETTINGS = list(CONFIG.settings())
SECTIONS = dataclasses.fields(AdaptConfig)


def bright_column(slices: int = 10, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A bright column that moves by half a pixel per slice in noise, and its label."""
    image = np.random.default_rng(0).normal(0, 5, (slices, side, side)).astype(np.float32)
    labels = np.zeros(image.shape, dtype=np.uint8)
    for index in range(slices):
        start = 5 + index // 2
        labels[index, start : start + 8, 7:16] = 1
    image[labels > 0] += 100
    return image, labels


@cache
def filled(config: AdaptConfig | None = None) -> dict[int, np.ndarray]:
    """Probabilities of the slices between the labelled ones of the bright column."""
    engine = Adapt(options={"steps": 3}, config=config)
    image, labels = bright_column()
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), range(0, len(labels), 4))
    engine.prepare(Volume(image, geometry), support)
    return dict(engine.predict(support.unlabelled(support.labelled_range())))


# Settings


@pytest.mark.parametrize(("name", "value", "help", "tried"), SETTINGS, ids=[name for name, *_ in SETTINGS])
def test_every_setting_is_documented_with_the_values_tried(
    name: str, value: Any, help: str, tried: tuple[Any, ...]
) -> None:
    assert len(help) > 12
    assert help[0].isupper()
    assert help.endswith(".")
    assert value not in tried
    for other in tried:
        assert CONFIG.replace(name, other) != CONFIG


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_sections_are_frozen_keyword_only_and_documented(section: dataclasses.Field) -> None:
    value = getattr(CONFIG, section.name)
    assert inspect.getdoc(type(value))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)
    with pytest.raises(TypeError):
        type(value)(1)


def test_one_setting_is_replaced_and_the_others_stay() -> None:
    changed = CONFIG.replace("network.crop", 64)
    differing = [
        name
        for (name, before, *_), (_, after, *_) in zip(SETTINGS, changed.settings(), strict=True)
        if before != after
    ]
    assert differing == ["network.crop"]
    assert CONFIG.network.crop == AdaptConfig().network.crop != 64


def test_a_config_without_any_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="switched on"):
        CONFIG.replace("candidates.propagation", False).replace("candidates.region_growing", False).replace(
            "candidates.shape_interpolation", False
        )


def test_the_engine_uses_the_defaults_without_a_config() -> None:
    usual, same = filled(), filled(CONFIG)
    assert sorted(usual) == sorted(same)
    for index, probabilities in usual.items():
        np.testing.assert_array_equal(probabilities, same[index])


@pytest.mark.parametrize(
    "name",
    [
        "candidates.propagation",
        "candidates.region_growing",
        "fusion.default_weights",
        "network.enabled",
        "network.batch",
        "network.soft_targets",
        "orthogonal.max_weight",
        "through_plane.neighbour_weight",
        "calibration.inverse_temperature",
        "schedule.orthogonal_share",
    ],
)
def test_each_setting_changes_the_result(name: str) -> None:
    (value,) = (tried[0] for own, _, _, tried in SETTINGS if own == name)
    usual, changed = filled(), filled(CONFIG.replace(name, value))
    assert any(not np.array_equal(usual[index], changed[index]) for index in usual)


@pytest.mark.parametrize("off", range(len(CANDIDATES)))
def test_a_candidate_that_is_switched_off_is_replaced_by_another(off: int) -> None:
    image, labels = bright_column()
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), (0, 4, 8))
    fields = ("propagation", "region_growing", "shape_interpolation")
    without = CONFIG.replace(f"candidates.{fields[off]}", False)
    ((_, usual),) = CandidatePool(Volume(image, geometry), support, CONFIG.candidates).candidates([2])
    ((_, remaining),) = CandidatePool(Volume(image, geometry), support, without.candidates).candidates([2])
    floors = np.array(CONFIG.candidates.min_probabilities)
    replacement = 1 if off == 0 else 0
    for channel in range(len(CANDIDATES)):
        source = replacement if channel == off else channel
        np.testing.assert_allclose(
            np.exp(remaining[channel]) - floors[channel], np.exp(usual[source]) - floors[source], atol=1e-6
        )


# The ablation benchmark


def test_parts_are_chosen_by_name_section_or_kind() -> None:
    assert [part.name for part in parts(["network.crop"])] == ["network.crop"]
    assert {part.name for part in parts(["through_plane"])} == {
        "through_plane.enabled",
        "through_plane.neighbour_weight",
        "through_plane.labelled_log_odds_ratio",
        "through_plane.flow_regularisation",
    }
    switches, constants = parts(["switches"]), parts(["constants"])
    assert {part.values for part in switches} == {(True, False)}
    assert len(switches) + len(constants) == sum(bool(tried) for *_, tried in SETTINGS)
    with pytest.raises(ValueError, match="no such"):
        parts(["no such"])


def test_a_constant_of_propagate_is_compared_with_values_on_either_side() -> None:
    for name in tuned_constants():
        (part,) = parts([name])
        own, *others = part.values
        assert part.off is None
        assert min(others) < own < max(others), name


def numeric_constants(source: Path) -> set[str]:
    """Public constants of a file that are numbers, `propagate.MODULE.CONSTANT`."""
    found = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and not any(
            isinstance(part, ast.Call | ast.Name) for part in ast.walk(node.value)
        ):
            names = {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            found |= {f"propagate.{source.stem}.{name}" for name in names if not name.startswith("_")}
    return {name for name in found if isinstance(own_value(name), int | float)}


def test_every_number_of_propagate_is_compared_or_named_as_not_compared() -> None:
    sources = Path(composed_flow.__file__).parent.glob("*.py")
    found = set().union(*map(numeric_constants, sources))
    assert found == {*tuned_constants(), *NOT_COMPARED}


def test_another_search_radius_finds_a_label_that_moved_farther() -> None:
    """One bright pixel that is three pixels away from its place on the labelled slice."""
    image, mask = np.zeros((1, 9, 9), np.float32), np.zeros((9, 9), np.uint8)
    moved = image.copy()
    image[0, 4, 2], mask[4, 2], moved[0, 4, 5] = 1, 1, 1
    field = np.zeros((2, 9, 9), np.float32)
    source = label_vote.Source(image, mask, label_vote.label_boxes(mask), field, 1.0)
    assert label_vote.vote(moved, [source], [1])[0, 4, 5] == 0
    with ConstantValue("propagate.label_vote.SEARCH_RADIUS_PIXELS", 3).applied():
        assert label_vote.vote(moved, [source], [1])[0, 4, 5] > 0


def test_every_module_sees_the_value_of_a_constant_that_is_compared() -> None:
    users = (composed_flow, flow_propagation, image_choice)
    own = composed_flow.FLOW_REGULARISATION
    with ConstantValue("propagate.composed_flow.FLOW_REGULARISATION", 1.0).applied():
        assert [user.FLOW_REGULARISATION for user in users] == [1.0] * 3
    assert [user.FLOW_REGULARISATION for user in users] == [own] * 3


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("through_plane.neighbour_weight", "through_plane.enabled"),
        ("labelling.min_pixels", "labelling.small_components"),
        ("network.muon_step", "network.muon"),
        ("network.enabled", "network.enabled"),
        ("schedule.held_out_share", None),
    ],
)
def test_a_part_is_compared_with_what_switches_it_off(name: str, switch: str | None) -> None:
    (part,) = parts([name])
    assert part.off == (CONFIG.replace(switch, False) if switch else None)


def results_of(part: Part, design: Design, dice: dict[str, list[float]]) -> dict[str, Result]:
    """Results of trials: the given Dice of each value by case, in 10 s; switched off, 0.5 in 4 s."""
    results = {}
    for case, values in dice.items():
        if part.off:
            results |= {trial.key: Result(0.5, 0.1, 0.3, 4.0) for trial in design.trials(part.off, case)}
        for config, value in zip(part.configs(), values, strict=True):
            results |= {trial.key: Result(value, 0.1, 0.3, 10.0) for trial in design.trials(config, case)}
    return results


def test_the_value_of_a_case_is_chosen_on_the_others() -> None:
    (part,) = parts(["network.crop"])
    assert part.values == (48, 32, 64)
    design = Design(["a", "b", "c"], [8], 5)
    dice = {"a": [0.8, 0.7, 0.9], "b": [0.8, 0.7, 0.81], "c": [0.8, 0.85, 0.6]}
    *rows, last = table(part, design, results_of(part, design, dice))
    # Without a: means 0.80, 0.775, 0.705. Without b: 0.80, 0.775, 0.75. Without c: 0.80, 0.70, 0.855.
    assert [row[1:7] for row in rows] == [
        ["a", "48", "0.800", "0.800", "0.500", "+0.300"],
        ["b", "48", "0.800", "0.800", "0.500", "+0.300"],
        ["c", "64", "0.600", "0.800", "0.500", "+0.100"],
    ]
    assert last[1:] == ["mean", "default in 2 of 3", "0.733", "0.800", "0.500", "+0.233", "60%"]


def test_the_value_with_the_smallest_error_of_expected_dice_is_best() -> None:
    (part,) = parts(["calibration.distance_exponent"])
    assert part.measure == "expected_error"
    design = Design(["a", "b"], [8], 5)
    results = {}
    for number, config in enumerate(part.configs()):
        for case in design.cases:
            results |= {
                trial.key: Result(0.9, 0.1 - 0.01 * number, 0.3, 1.0) for trial in design.trials(config, case)
            }
    assert part.off is not None
    for case in design.cases:
        results |= {trial.key: Result(0.9, 0.2, 0.3, 1.0) for trial in design.trials(part.off, case)}
    first, *_ = table(part, design, results)
    assert first[2] == str(part.values[-1])
    assert first[6].startswith("+")


def test_no_table_is_printed_while_a_trial_is_missing() -> None:
    (part,) = parts(["network.crop"])
    design = Design(["a", "b"], [8], 5)
    results = results_of(part, design, {"a": [0.8, 0.7, 0.9], "b": [0.8, 0.7, 0.9]})
    assert table(part, design, results)
    results.popitem()
    assert table(part, design, results) == []


def write_case(folder: Path, seed: int) -> None:
    image, labels = bright_column()
    folder.mkdir(parents=True)
    for name, array in (("image", np.roll(image, seed, axis=2)), ("label", np.roll(labels, seed, axis=2))):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{name}.nii.gz"))
    (folder / "labels.json").write_text(json.dumps({"1": "column"}))


@pytest.mark.slow
def test_the_command_prints_its_table_and_continues_where_it_stopped(tmp_path: Path) -> None:
    for seed, case in enumerate(("one", "two")):
        write_case(tmp_path / "data" / case, seed)
    cache = tmp_path / "ablation.jsonl"

    def run(*options: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(PROGRAM), "--data", str(tmp_path / "data")]
        command += [
            "--parts",
            "through_plane.enabled",
            "--spacing",
            "4",
            "--steps",
            "2",
            "--cache",
            str(cache),
            *options,
        ]
        return subprocess.run(command, capture_output=True, text=True)

    stopped = run("--seconds", "0")
    assert stopped.returncode == 1
    assert "through_plane.enabled" in stopped.stderr
    complete = run("--jobs", "2")
    assert complete.returncode == 0, complete.stderr
    head, _, *rows = complete.stdout.splitlines()
    assert head.startswith("| part | left out |")
    assert [row.split(" | ")[1] for row in rows] == ["one", "two", "mean"]
    kept = cache.read_text()
    assert len(kept.splitlines()) == 4
    cache.write_text(kept + '{"key": "cut of')
    again = run()
    assert again.stdout == complete.stdout
    assert again.stderr == ""
