"""MultiverSeg: the same results as its definition and official code, and a fill from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.engines.in_context.base import InContextEngine
from fewshot_annotate.engines.in_context.multiverseg_network import TARGET_CHANNELS, MultiverSegNet, state_shapes
from fewshot_annotate.engines.registry import engine_class, runnable_engine
from fewshot_annotate.weights import catalog
from support.plain_networks import plain_multiverseg
from support.tiny_weights import WeightsFolder, random_tensors

CPU = torch.device("cpu")
REFERENCE = os.environ.get("FEWSHOT_MULTIVERSEG_REFERENCE")
# Channels of a network small enough for tests; the official one has 256.
FEW_CHANNELS = 16


def inputs(count: int, size: tuple[int, int] = (16, 24)) -> tuple[torch.Tensor, ...]:
    """A target with prompts `[5, h, w]`, and labelled images."""
    generator = torch.Generator().manual_seed(count)
    target = torch.rand(TARGET_CHANNELS, *size, generator=generator)
    images = torch.rand(count, *size, generator=generator)
    return target, images, (images > 0.6).float()


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def test_the_state_is_that_of_the_official_file() -> None:
    assert sum(int(np.prod(shape)) for shape in state_shapes().values()) == 18_903_297
    assert state_shapes()["enc_blocks.0.cross.cross_conv.weight"] == (256, 7, 3, 3)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_output_equals_that_of_the_published_definition(count: int) -> None:
    state = random_tensors(state_shapes(FEW_CHANNELS))
    target, images, labels = inputs(count)
    net = MultiverSegNet(state, CPU)
    found = net.logits_with_prompts(target.permute(1, 2, 0), net.encode_support(images, labels))
    assert difference(found, plain_multiverseg(state, target, images, labels)) < 1e-5


def test_without_prompts_their_channels_are_empty() -> None:
    state = random_tensors(state_shapes(FEW_CHANNELS))
    target, images, labels = inputs(3)
    target[1:] = 0
    net = MultiverSegNet(state, CPU)
    found = net.logits(target[0], net.encode_support(images, labels))
    assert difference(found, plain_multiverseg(state, target, images, labels)) < 1e-5


if REFERENCE:  # a checkout of halleewong/MultiverSeg, with universeg, einops and pydantic to be imported

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("count", [1, 4])
    def test_the_output_equals_that_of_the_official_network(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(REFERENCE)
        from multiverseg.models.network import MultiverSegNet as OfficialNet

        norms: dict[str, Any] = {"conv_kws": {"norm": "layer"}}
        official_net = OfficialNet(
            in_channels=[5, 2], encoder_blocks=[256] * 4, block_kws=norms, cross_relu=True
        ).eval()
        state = random_tensors(state_shapes(), spread=0.05)
        official_net.load_state_dict(state)
        target, images, labels = inputs(count, (128, 128))
        with torch.inference_mode():
            official = official_net(target[None], images[None, :, None], labels[None, :, None])[0, 0]
        net = MultiverSegNet(state, CPU)
        found = difference(
            net.logits_with_prompts(target.permute(1, 2, 0), net.encode_support(images, labels)), official
        )
        print(f"MultiverSeg, {count} supports: logits differ by {found:.1e} of the largest")
        assert found < 1e-5


def test_slices_are_prepared_as_for_universeg() -> None:
    engine = engine_class("multiverseg")
    assert issubclass(engine, InContextEngine)
    assert engine.uses_library


def test_the_description_states_that_there_is_no_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = catalog.checkpoint("multiverseg-v1")
    assert (checkpoint.permissive, checkpoint.sha256, checkpoint.md5) == (False, None, None)
    assert "no licence" in checkpoint.restrictions
    WeightsFolder(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="licence not stated"):
        runnable_engine("multiverseg")
