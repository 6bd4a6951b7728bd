"""nnInteractive: labelled slices become its prompts; overlapping labels, missing package, files, its own session."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.base import RunContext, Stopped
from fewshot_annotate.engines.nninteractive.engine import certainty
from fewshot_annotate.engines.nninteractive.prompts import NEAR_PIXELS, label_prompts
from fewshot_annotate.engines.pretrained import base
from fewshot_annotate.engines.pretrained.base import checkpoint_summary
from fewshot_annotate.engines.registry import engine_class, runnable_engine
from fewshot_annotate.weights import catalog, loading, store
from support.labels import every_nth, small_case
from support.tiny_weights import WeightsFolder, nninteractive_plans, random_nninteractive

AXIS = SliceAxis(0)


def square(rows: slice, columns: slice, value: int = 1) -> np.ndarray:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[rows, columns] = value
    return mask


def support_of(slices: dict[int, np.ndarray], complete: bool = True) -> Support:
    array = np.zeros((12, 40, 40), dtype=np.uint8)
    for index, mask in slices.items():
        array[index] = mask
    return Support.from_label_map(LabelMap(array, Geometry(array.shape)), AXIS, sorted(slices), complete=complete)


# --- prompts


def test_prompts_include_painted_pixels_and_exclude_other_labels_nearby() -> None:
    first, second = square(slice(10, 20), slice(10, 20)), square(slice(10, 20), slice(20, 30), 2)
    prompts = label_prompts(support_of({3: first + second, 7: first}), 0)
    assert prompts is not None
    assert prompts.first == 3
    assert prompts.inside.shape == (5, 40, 40)
    np.testing.assert_array_equal(prompts.inside[[0, 4]], [first, first])
    np.testing.assert_array_equal(prompts.others[0], second > 0)
    assert not prompts.inside[1:4].any()
    assert not prompts.others[1:].any()


def test_other_labels_far_from_the_label_are_no_prompts() -> None:
    mask = np.zeros((20, 80), dtype=np.uint8)
    mask[5:10, 10:20], mask[5:10, 25:75] = 1, 2
    prompts = label_prompts(Support(AXIS, (3,), mask[None], (1, 2), np.ones((1, 2), dtype=bool)), 0)
    assert prompts is not None
    shown = prompts.others[0].any(axis=0)
    assert np.flatnonzero(shown).tolist() == list(range(25, 20 + NEAR_PIXELS))


def test_a_line_through_the_background_surrounds_the_label_and_touches_nothing_painted() -> None:
    mask = square(slice(10, 20), slice(10, 20)) + square(slice(10, 20), slice(20, 30), 2)
    prompts = label_prompts(support_of({3: mask}), 0)
    assert prompts is not None
    (line,) = prompts.background
    assert line[15, 4:11].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert not line[mask > 0].any()


def test_where_a_label_has_ended_a_negative_line_crosses_its_position() -> None:
    mask = square(slice(10, 20), slice(10, 20))
    prompts = label_prompts(support_of({3: mask, 7: np.zeros_like(mask)}), 0)
    assert prompts is not None
    assert not prompts.inside[4].any()
    assert prompts.background[4, 10:20, 10:20].sum() == 10 * 10 - 6 * 6


def test_a_slice_unannotated_for_the_label_gives_no_prompt() -> None:
    first, second = square(slice(10, 20), slice(10, 20)), square(slice(10, 20), slice(22, 30), 2)
    prompts = label_prompts(support_of({3: first, 7: second}, complete=False), 0)
    assert prompts is not None
    for array in (prompts.inside, prompts.others, prompts.background):
        assert not array[4].any()


def test_a_label_that_no_slice_shows_has_no_prompts() -> None:
    support = support_of({3: square(slice(10, 20), slice(10, 20)), 7: square(slice(3, 9), slice(3, 9), 2)})
    assert label_prompts(support.subset([0]), 1) is None


# --- from masks to probabilities


def test_of_two_overlapping_labels_the_one_further_from_its_outline_is_more_certain() -> None:
    wide, narrow = square(slice(5, 35), slice(5, 35)) > 0, square(slice(5, 35), slice(30, 36)) > 0
    assert certainty(wide)[20, 31] > certainty(narrow)[20, 35] > 0.5
    assert certainty(wide)[20, 30] > certainty(narrow)[20, 30]
    assert certainty(wide)[20, 34] < certainty(narrow)[20, 34]


def test_probabilities_are_above_a_half_just_inside_of_the_mask() -> None:
    mask = square(slice(10, 20), slice(10, 20)) > 0
    np.testing.assert_array_equal(certainty(mask) > 0.5, mask)
    assert certainty(np.ones_like(mask)).min() == 1
    assert certainty(np.zeros_like(mask)).max() == 0


# --- package and licence


def test_a_missing_package_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = base.find_spec
    monkeypatch.setattr(base, "find_spec", lambda name: None if name == "nnInteractive" else find(name))
    with pytest.raises(InputError, match=r"pip install nninteractive$") as refused:
        runnable_engine("nninteractive")
    assert "\n" not in str(refused.value)


def test_the_licence_is_shown_and_needs_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    WeightsFolder(tmp_path, monkeypatch)
    for checkpoint in engine_class("nninteractive").missing_checkpoints():
        assert not checkpoint.permissive
        assert "CC-BY-NC-SA-4.0" in checkpoint_summary(checkpoint)
        assert "non-commercial" in checkpoint.restrictions
        assert main(["models", "download", checkpoint.name, "--progress", "none"]) == 2
        assert "CC-BY-NC-SA-4.0" in capfd.readouterr().err
    assert not list(store.folder().glob("*"))


# --- files of weights


def test_plans_must_be_a_json_object(tmp_path: Path) -> None:
    plans, path = catalog.checkpoint("nninteractive-v1-plans"), tmp_path / "plans.json"
    path.write_text(json.dumps({"configurations": {}}), encoding="utf-8")
    loading.require_loads(plans, path, None)
    for content in ("<html>", "7", '{"a": NaN}', ""):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError) as refused:
            loading.require_loads(plans, path, None)
        assert refused.value.code == "weights_damaged"


def test_shared_tensors_beside_numbers_of_numpy_are_loaded(tmp_path: Path) -> None:
    weight, path = torch.rand(64, 64), tmp_path / "checkpoint.pth"
    notes = {"losses": [np.float64(0.5), np.float32(0.25)], "epoch": np.int64(7), "device": torch.device("cpu")}
    named = {name: weight.detach() for name in ("a", "b", "c")}
    torch.save({"network_weights": named, "logging": notes}, path)
    state = loading.read_state(path, state_key="network_weights")
    assert sorted(state) == ["a", "b", "c"]
    torch.testing.assert_close(state["c"], weight)


# The package brings many others, so the tests do not install it: pip install nninteractive.
if find_spec("nnInteractive"):

    @pytest.fixture
    def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsFolder:
        weights_folder = WeightsFolder(tmp_path, monkeypatch)
        weights_folder.put_checkpoint("nninteractive-v1", random_nninteractive())
        weights_folder.put_file("nninteractive-v1-plans", json.dumps(nninteractive_plans()).encode())
        return weights_folder

    def predict(
        indices: list[int], axis: int = 0, on_progress: Callable[[float], object] | None = None, **options: Any
    ) -> tuple[Support, dict[int, np.ndarray]]:
        volume, label_map = small_case()
        slice_axis = SliceAxis(axis)
        support = Support.from_label_map(label_map, slice_axis, every_nth(label_map, slice_axis, 6))
        engine = runnable_engine("nninteractive")(options=options)
        engine.prepare(volume, support, RunContext(on_progress=on_progress) if on_progress else RunContext())
        return support, dict(engine.predict(indices))

    @pytest.mark.parametrize("axis", [0, 2])
    def test_the_session_of_the_package_fills_only_the_requested_slices(
        axis: int, weights_folder: WeightsFolder, capfd: pytest.CaptureFixture[str]
    ) -> None:
        fractions: list[float] = []
        support, results = predict([15, 16], axis, lambda fraction: (print("seen"), fractions.append(fraction)))
        assert sorted(results) == [15, 16]
        for probabilities in results.values():
            assert probabilities.shape == (1 + len(support.labels), *support.masks.shape[1:])
            assert probabilities.dtype == np.float32
            np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        assert fractions == sorted(fractions)
        assert (fractions[0], fractions[-1]) == (0, 1)
        # Progress may be printed, what the package prints is not.
        assert set(capfd.readouterr().out.split()) == {"seen"}

    def test_each_kind_of_prompt_reaches_the_network(weights_folder: WeightsFolder) -> None:
        from fewshot_annotate.engines.nninteractive.network import PromptableModel, PromptedSession

        state = loading.load_state(catalog.checkpoint("nninteractive-v1"))
        model = PromptableModel(state, nninteractive_plans())
        network_inputs: list[torch.Tensor] = []
        model.net.register_forward_pre_hook(lambda _, inputs: network_inputs.append(inputs[0][0].clone()))
        prompts = label_prompts(
            support_of({3: square(slice(15, 20), slice(15, 20)) + square(slice(22, 25), slice(15, 20), 2)}), 0
        )
        assert prompts is not None
        slices = np.random.default_rng(0).normal(size=(12, 40, 40))
        PromptedSession(model, slices, False, lambda: None).segment(prompts)
        # Image, previous result, then lasso, point and scribble, each positive and negative.
        assert [bool(channel.any()) for channel in network_inputs[0]] == [
            True,
            False,
            True,
            True,
            False,
            False,
            False,
            True,
        ]
        assert [float(channel.sum()) for channel in network_inputs[0][2:4]] == [25, 15]

    def test_a_run_can_be_stopped_within_a_label(weights_folder: WeightsFolder) -> None:
        def stop(fraction: float) -> None:
            if fraction > 0:
                raise Stopped

        with pytest.raises(Stopped):
            predict([15], on_progress=stop)

    def test_a_volume_of_zeros_has_no_labels(weights_folder: WeightsFolder) -> None:
        volume = Volume(np.zeros((12, 40, 40), dtype=np.int16), Geometry((12, 40, 40)))
        engine = runnable_engine("nninteractive")()
        engine.prepare(volume, support_of({3: square(slice(10, 20), slice(10, 20))}))
        ((_, probabilities),) = engine.predict([4])
        assert probabilities[0].min() == 1

    @pytest.mark.parametrize("change", [{"network_class_name": "os.system"}, {"_kw_requires_import": ["n_stages"]}])
    def test_plans_that_name_other_functions_are_refused(
        change: dict[str, object], weights_folder: WeightsFolder
    ) -> None:
        plans = nninteractive_plans()
        plans["configurations"]["3d_fullres_ps192_bs24"]["architecture"].update(change)
        weights_folder.put_file("nninteractive-v1-plans", json.dumps(plans).encode())
        with pytest.raises(InputError) as refused:
            predict([15])
        assert refused.value.code == "weights_architecture"

    def test_weights_of_another_model_are_refused(weights_folder: WeightsFolder) -> None:
        content = random_nninteractive()
        content["network_weights"]["unknown.weight"] = torch.zeros(1)
        weights_folder.put_checkpoint("nninteractive-v1", content)
        with pytest.raises(InputError, match=r"another model .*unknown\.weight"):
            predict([15])
