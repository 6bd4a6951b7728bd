"""Painter: SegGPT's module without its type tokens, and with one prompt."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.pretrained.intensity import GreyscaleSlices
from fewshot_annotate.engines.registry import runnable_engine
from support import reference
from support.labels import every_nth, small_case
from support.tiny_weights import WeightsFolder, random_seggpt

# isort: split
from fewshot_annotate.engines.in_context import seggpt_network as seggpt_model
from fewshot_annotate.engines.in_context.seggpt_network import InContextModel, as_input, as_painting

AXIS = SliceAxis(0)
REFERENCE = os.environ.get("FEWSHOT_PAINTER_REFERENCE")
SIDE = 64


def test_type_tokens_missing_from_a_file_are_zero() -> None:
    state = random_seggpt(type_tokens=False)
    zeros = {"type_token_cls": torch.zeros(1, 1, 1, 32), "type_token_ins": torch.zeros(1, 1, 1, 32)}
    volume, label_map = small_case()
    rgb = GreyscaleSlices(volume.array).rgb(12)
    image, painting = as_input(rgb, SIDE), as_painting(label_map.array[12] > 0, SIDE)
    painted = InContextModel(state).paint(image, [(image, painting)])
    torch.testing.assert_close(painted, InContextModel(state | zeros).paint(image, [(image, painting)]))


def test_only_the_nearest_slice_is_the_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WeightsFolder(tmp_path, monkeypatch).put("painter-vit-large", random_seggpt(type_tokens=False))
    prompt_counts: list[int] = []
    paint = InContextModel.paint

    def counting_paint(
        self: InContextModel, image: np.ndarray, prompts: list[object], *arguments: object
    ) -> torch.Tensor:
        prompt_counts.append(len(prompts))
        return paint(self, image, prompts, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(InContextModel, "paint", counting_paint)
    volume, label_map = small_case()
    engine = runnable_engine("painter")()
    engine.prepare(volume, Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6)))
    ((_, probabilities),) = engine.predict([15])
    assert prompt_counts == [1, 1]
    assert 0 < probabilities[1:].max() < 1


if REFERENCE:  # a checkout of baaivision/Painter

    def test_the_output_equals_that_of_the_official_model() -> None:
        official = reference.painter(Path(str(REFERENCE)), "models_painter", "Painter")
        state = random_seggpt(type_tokens=False)
        volume, label_map = small_case()
        greys = GreyscaleSlices(volume.array)
        prompt, image = (as_input(greys.rgb(index), SIDE) for index in (12, 15))
        painting = as_painting(label_map.array[12] > 0, SIDE)
        painted = reference.painted(official.Painter, state, [(prompt, painting)], image)
        mean, std = torch.tensor(seggpt_model.MEAN), torch.tensor(seggpt_model.STD)
        expected = torch.clip((painted * std + mean) * 255, 0, 255).mean(-1)
        difference = float((InContextModel(state).paint(image, [(prompt, painting)]) - expected).abs().max())
        print(f"Painter: largest difference {difference / 255:.1e} of the range of grey values")
        assert difference / 255 < 1e-6
