"""Properties of pretrained engines for any weights: shapes, sums, absent labels, repeats, stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.cli.messages import error_text
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.engines.base import Engine, RunContext, Stopped
from fewshot_annotate.engines.registry import engine_class, runnable_engine
from support.labels import small_case
from support.tiny_weights import (
    WeightsFolder,
    random_grounding_dino,
    random_sam,
    random_sam2,
    random_seggpt,
    vocabulary,
)

# isort: split
from fewshot_annotate.engines.sam import persam_network as persam_model

ENGINES = ("sam", "medsam", "persam", "persam-f", "seggpt", "painter", "grounding-dino", "sam2-video")
# The slowest are tested among the slow tests; code that they share with other engines is tested with those.
SOME_SLOW = [
    pytest.param(
        name, marks=[pytest.mark.slow] if name in ("persam-f", "painter", "grounding-dino", "sam2-video") else []
    )
    for name in ENGINES
]
OPTIONS: dict[str, dict[str, Any]] = {
    "grounding-dino": {"side": 64, "text": "liver. spleen."},
    "sam2-video": {"side": 64},
}
# Labelled slices of the small case: the first shows one label, the others both.
LABELLED = [8, 14, 20]


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persam_model, "STEPS", 10)
        weights_folder = WeightsFolder(folder, patch)
        for name in ("sam-vit-b", "medsam-vit-b"):
            weights_folder.put(name, random_sam().state_dict())
        weights_folder.put("seggpt-vit-large-original", random_seggpt())
        weights_folder.put("painter-vit-large", random_seggpt(type_tokens=False))
        weights_folder.put("grounding-dino-tiny", random_grounding_dino(folder / "detector"))
        weights_folder.put_file("grounding-dino-vocabulary", "\n".join(vocabulary()).encode())
        weights_folder.put("medsam2-latest", random_sam2())
        yield weights_folder


def prepared(name: str, volume: Volume, support: Support, pulse: Callable[[float], None] | None = None) -> Engine:
    engine = runnable_engine(name)(options=OPTIONS.get(name, {}))
    engine.prepare(volume, support, RunContext(on_progress=pulse) if pulse else RunContext())
    return engine


def supported(change: Callable[[np.ndarray], None] | None = None, axis: int = 0) -> tuple[Volume, Support]:
    volume, label_map = small_case()
    array = label_map.array.copy()
    if change is not None:
        change(array)
    labels = LabelMap(array, label_map.geometry)
    if axis:
        # Painted along another axis: slices are not in one piece in memory.
        return volume, Support.from_label_map(labels, SliceAxis(axis), [18, 24])
    return volume, Support.from_label_map(labels, SliceAxis(0), LABELLED)


@pytest.mark.parametrize("name", SOME_SLOW)
def test_probabilities_have_the_slices_shape_and_sum_to_1(name: str, weights_folder: WeightsFolder) -> None:
    volume, support = supported()
    results = dict(prepared(name, volume, support).predict([11, 17]))
    assert sorted(results) == [11, 17]
    for probabilities in results.values():
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (3, *volume.array.shape[1:])
        assert probabilities.min() >= 0
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        assert probabilities[1].max() > 0
        assert probabilities[2].max() > 0


@pytest.mark.parametrize("name", SOME_SLOW)
def test_the_same_input_gives_the_same_result(name: str, weights_folder: WeightsFolder) -> None:
    volume, support = supported()
    first, again = (dict(prepared(name, volume, support).predict([17]))[17] for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", SOME_SLOW)
def test_slices_along_any_axis_are_filled(name: str, weights_folder: WeightsFolder) -> None:
    volume, support = supported(axis=2)
    ((index, probabilities),) = prepared(name, volume, support).predict([21])
    assert index == 21
    assert probabilities.shape[1:] == volume.array.shape[:2]


@pytest.mark.parametrize("name", SOME_SLOW)
def test_labels_of_a_single_pixel_and_empty_slices_are_accepted(name: str, weights_folder: WeightsFolder) -> None:
    def sparse(array: np.ndarray) -> None:
        for index in LABELLED:
            array[index] = 0
        array[14, 20, 10] = 1
        array[20, 30, 12] = 2

    volume, support = supported(sparse)
    assert support.labels == (1, 2)
    results = dict(prepared(name, volume, support).predict([11, 17]))
    assert results[11][2].max() == 0  # both neighbouring labelled slices lack it
    for probabilities in results.values():
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("name", SOME_SLOW)
def test_a_run_can_be_stopped_within_the_first_slice(name: str, weights_folder: WeightsFolder) -> None:
    """Its progress never falls, either."""
    volume, support = supported()
    reported: list[float] = []

    def pulse(fraction: float) -> None:
        reported.append(fraction)
        if fraction > 0:
            raise Stopped

    # Another slice for each engine, so that its embedding is not cached yet.
    index = 9 + ENGINES.index(name) % 5
    with pytest.raises(Stopped):
        list(prepared(name, volume, support, pulse).predict([index, 16]))
    assert reported[-1] <= 0.5
    reported.clear()
    list(prepared(name, volume, support, reported.append).predict([index, 16]))
    assert reported == sorted(reported)
    assert reported[-1] == pytest.approx(1)


@pytest.mark.parametrize("name", ENGINES)
def test_requirements_are_known_before_weights_are_loaded(name: str, weights_folder: WeightsFolder) -> None:
    engine = engine_class(name)
    assert engine.unavailable_reason() is None
    assert engine.needs_weights
    for text in (engine.title, engine.summary, engine.licence):
        assert text
        assert "\n" not in text


def test_missing_weights_of_each_engine_are_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WeightsFolder(tmp_path, monkeypatch)
    for name in ENGINES:
        reason = engine_class(name).unavailable_reason()
        assert reason is not None
        assert "fewshot-annotate models download" in error_text(reason)
        assert "\n" not in error_text(reason)
