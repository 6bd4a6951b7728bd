"""SegGPT: two files give one model, and several prompts are merged as the authors do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap
from fewshot_annotate.engines.pretrained.intensity import GreyscaleSlices
from fewshot_annotate.engines.registry import runnable_engine
from support import reference
from support.labels import every_nth, small_case
from support.tiny_weights import WeightsFolder, random_seggpt

# isort: split
from fewshot_annotate.engines.in_context import seggpt_network as seggpt_model
from fewshot_annotate.engines.in_context.seggpt_network import InContextModel, as_input, as_painting, renamed

AXIS = SliceAxis(0)
REFERENCE = os.environ.get("FEWSHOT_PAINTER_REFERENCE")
SIDE = 64


def examples(count: int) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """A slice of a real volume, and labelled ones of it, as the model sees them."""
    volume, label_map = small_case()
    greys = GreyscaleSlices(volume.array)
    prompts = [
        (as_input(greys.rgb(index), SIDE), as_painting(label_map.array[index] > 0, SIDE))
        for index in range(10, 10 + 3 * count, 3)
    ]
    return as_input(greys.rgb(12), SIDE), prompts


@pytest.fixture(scope="module")
def model() -> InContextModel:
    return InContextModel(random_seggpt())


def test_both_files_give_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    volume, label_map = small_case()
    support = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 12))
    results = []
    for name, state in (
        ("seggpt-vit-large-original", random_seggpt()),
        ("seggpt-vit-large", renamed(random_seggpt())),
    ):
        weights_folder.put(name, state)
        engine = runnable_engine("seggpt")(options={"model": name})
        engine.prepare(volume, support)
        results.append(dict(engine.predict([15]))[15])
    np.testing.assert_array_equal(*results)


def test_the_released_size_has_exactly_these_keys() -> None:
    from transformers import SegGptConfig, SegGptForImageSegmentation

    with torch.device("meta"):
        official = SegGptForImageSegmentation(SegGptConfig())
        built = seggpt_model.build(official.state_dict())
    config, expected = built.config.to_dict(), official.config.to_dict()
    for key in ("drop_path_rate", "architectures", "dtype"):  # of training, and of the program that wrote the file
        config.pop(key, None), expected.pop(key, None)
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in expected.items()
    }
    assert set(renamed(random_seggpt())) == set(official.state_dict())


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_repeated_prompt_gives_the_result_of_one(model: InContextModel, count: int) -> None:
    image, (prompt,) = examples(1)
    once, often = model.paint(image, [prompt]), model.paint(image, [prompt] * count)
    assert (once - often).abs().max() < 1e-3
    assert once.std() > 1


def test_every_prompt_is_used_and_their_order_does_not_matter(model: InContextModel) -> None:
    image, prompts = examples(3)
    in_order, reversed_order = model.paint(image, prompts), model.paint(image, prompts[::-1])
    # The decoder's convolution sees one row of the first prompt above the slice.
    assert (in_order - reversed_order)[1:].abs().max() < 1e-3
    assert (in_order - model.paint(image, prompts[:2])).abs().max() > 1e-3


def test_the_layer_of_transformers_alone_merges_prompts_differently(model: InContextModel) -> None:
    image, prompts = examples(2)
    corrected = model.paint(image, prompts)
    plain = InContextModel(random_seggpt())
    del plain.net.model.encoder.layers[seggpt_model.MERGE_INDEX].forward
    assert (corrected - plain.paint(image, prompts)).abs().max() > 1e-2


def test_a_mask_is_painted_white_on_black() -> None:
    mask = np.zeros((50, 60), dtype=bool)
    mask[10:20, 30:40] = True
    painted = as_painting(mask, SIDE) * seggpt_model.STD + seggpt_model.MEAN
    assert {round(float(value), 6) for value in np.unique(painted)} == {0.0, 1.0}


def test_prompts_are_the_nearest_slices_that_show_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    weights_folder.put("seggpt-vit-large", renamed(random_seggpt()))
    volume, label_map = small_case()
    array = label_map.array.copy()
    array[10][array[10] == 2] = 0
    support = Support.from_label_map(LabelMap(array, label_map.geometry), AXIS, [4, 10, 16, 22])
    engine = runnable_engine("seggpt")()
    engine.prepare(volume, support)
    assert engine.nearest(11, 0, 2) == [1, 2]  # type: ignore[attr-defined]
    assert engine.nearest(11, 1, 1) == [2]  # type: ignore[attr-defined]


def test_fewer_prompts_are_used_where_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    weights_folder.put("seggpt-vit-large", renamed(random_seggpt()))
    volume, label_map = small_case()
    support = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 3))
    paint = InContextModel.paint
    prompt_counts: list[int] = []

    def short(self: InContextModel, image: np.ndarray, prompts: list[object], *more: object) -> torch.Tensor:
        prompt_counts.append(len(prompts))
        if len(prompts) > 2:
            raise RuntimeError("CUDA out of memory")
        return paint(self, image, prompts, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(InContextModel, "paint", short)
    engine = runnable_engine("seggpt")(options={"prompts": 4})
    engine.prepare(volume, support)
    assert len(list(engine.predict([14, 17]))) == 2
    assert prompt_counts[:3] == [4, 3, 2]
    assert set(prompt_counts[3:]) == {2}


def test_weights_of_another_model_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    state = renamed(random_seggpt())
    del state["decoder.decoder_pred.head.bias"]
    weights_folder.put("seggpt-vit-large", state)
    volume, label_map = small_case()
    engine = runnable_engine("seggpt")()
    engine.prepare(volume, Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6)))
    with pytest.raises(InputError, match=r"another model .*head\.bias") as refused:
        list(engine.predict([15]))
    assert "\n" not in str(refused.value)


if REFERENCE:  # a checkout of baaivision/Painter

    @pytest.mark.parametrize("count", [1, 2, 3, 8])
    def test_the_output_equals_that_of_the_official_model(count: int, model: InContextModel) -> None:
        official = reference.painter(Path(str(REFERENCE)), "models_seggpt", "SegGPT/SegGPT_inference")
        image, prompts = examples(count)
        more = torch.ones(count, 1), 0 if count > 1 else -1
        painted = reference.painted(official.SegGPT, random_seggpt(), prompts, image, *more)
        mean, std = torch.tensor(seggpt_model.MEAN), torch.tensor(seggpt_model.STD)
        expected = torch.clip((painted * std + mean) * 255, 0, 255).mean(-1)
        difference = float((model.paint(image, prompts) - expected).abs().max())
        print(f"SegGPT, {count} prompts: largest difference {difference / 255:.1e} of the range of grey values")
        assert difference / 255 < 1e-6
