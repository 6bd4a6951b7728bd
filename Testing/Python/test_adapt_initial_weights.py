"""The weights that the network of `adapt` starts from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.engines.adapt import initial_weights
from fewshot_annotate.engines.adapt.config import AdaptConfig, NetworkConfig
from fewshot_annotate.engines.adapt.fitting import fit
from fewshot_annotate.engines.adapt.initial_weights import (
    FILE,
    LABELS,
    SIZES,
    load_initial_weights,
    write_initial_weights,
)
from fewshot_annotate.engines.adapt.network import UNet
from fewshot_annotate.engines.adapt.stack import POSITIONS, Stack

CONFIG = AdaptConfig().network
SLICES = len(CONFIG.context)


def started(classes: int, channels: int = 1) -> UNet:
    """A network with the initial weights."""
    network = UNet(classes, CONFIG, SLICES * channels)
    assert load_initial_weights(network, CONFIG)
    return network.eval()


def logits(network: UNet, images: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    positions = torch.zeros(len(images), POSITIONS, *images.shape[2:])
    with torch.inference_mode():
        return network(torch.cat([images, positions], dim=1), prior)


def bright_square(noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of a bright square in noise, its blurred prior, which lies three pixels beside it, and its mask."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(48, 48)
    mask[14:34, 14:34] = 1
    images = 2 * (0.3 + 0.4 * mask) - 1 + noise * torch.randn(1, SLICES, 48, 48, generator=generator)
    beside = torch.nn.functional.avg_pool2d(torch.roll(mask, 3, dims=1)[None, None], 7, stride=1, padding=3)
    return images, torch.cat([1 - beside, beside], dim=1), mask


def dice(mask: torch.Tensor, truth: torch.Tensor) -> float:
    return float(2 * (mask * truth).sum() / (mask.sum() + truth.sum()))


def test_without_a_fit_the_network_already_moves_an_outline_to_an_edge_of_the_image() -> None:
    images, prior, mask = bright_square()
    predicted = logits(started(2), images, prior).argmax(dim=1)[0]
    assert 1 - dice(predicted, mask) < 0.5 * (1 - dice((prior[0, 1] > 0.5).float(), mask))


def test_two_equal_channels_give_what_one_gives() -> None:
    images, prior, _ = bright_square()
    twice = images.repeat_interleave(2, dim=1)  # the channels of a slice follow each other
    torch.testing.assert_close(logits(started(2, 2), twice, prior), logits(started(2), images, prior))


def test_the_first_labels_are_predicted_alike_however_many_follow() -> None:
    images, prior, _ = bright_square()
    more = torch.cat([prior, torch.zeros(1, 1, 48, 48)], dim=1)
    torch.testing.assert_close(logits(started(3), images, more)[:, :2], logits(started(2), images, prior))


def test_labels_beyond_those_trained_start_with_the_weights_of_the_first_again() -> None:
    head = started(LABELS + 3).head.weight.detach().unflatten(0, (LABELS + 3, -1))
    assert torch.equal(head[LABELS + 1], head[1])
    assert torch.equal(head[LABELS + 2], head[2])
    assert not torch.equal(head[1], head[2])


def other_sizes() -> list[NetworkConfig]:
    """The values that each setting on which the shapes depend is compared with."""
    fields = {field.name: field.metadata["tried"] for field in dataclasses.fields(NetworkConfig)}
    return [dataclasses.replace(CONFIG, **{name: value}) for name in SIZES for value in fields[name]]


@pytest.mark.parametrize("config", other_sizes())
@pytest.mark.parametrize("channels", [1, 5])
def test_a_network_of_another_size_keeps_its_random_weights(config: NetworkConfig, channels: int) -> None:
    network = UNet(2, config, len(config.context) * channels)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    assert not load_initial_weights(network, config)
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


def test_weights_are_written_as_they_are_read(tmp_path: Path) -> None:
    write_initial_weights(started(LABELS + 1), tmp_path / "weights.npz")
    with np.load(FILE) as shipped, np.load(tmp_path / "weights.npz") as written:
        assert set(written.files) == set(shipped.files)
        assert all(np.array_equal(written[name], shipped[name]) for name in shipped.files)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off"])
def test_an_incomplete_installation_is_named(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "initial_weights.npz"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(initial_weights, "FILE", file)
    initial_weights.trained_weights.cache_clear()
    with pytest.raises(InputError, match="install FewShotAnnotate again"):
        load_initial_weights(UNet(2, CONFIG, SLICES), CONFIG)


def test_a_fit_starts_from_the_weights() -> None:
    rows, columns = np.mgrid[:32, :32]
    disc = ((rows - 16) ** 2 + (columns - 16) ** 2 < 60).astype(np.float32)
    stack = Stack(lambda index: disc[None], 3, disc.shape, torch.device("cpu"), CONFIG)
    probabilities = np.stack([1 - disc, disc])
    examples = [stack.example(1, probabilities, probabilities, True)]
    fitted = fit(stack, examples, 1, 0, lambda fraction: None).module.down[0][0].weight.detach()
    random = dataclasses.replace(CONFIG, pretrained=False)
    stack = Stack(lambda index: disc[None], 3, disc.shape, torch.device("cpu"), random)
    unlike = fit(stack, examples, 1, 0, lambda fraction: None).module.down[0][0].weight.detach()
    first = started(2).down[0][0].weight.detach()
    assert float((fitted - first).norm() / first.norm()) < 0.1
    assert float((unlike - first).norm() / first.norm()) > 0.5


def test_the_file_is_small_and_holds_numbers_only() -> None:
    assert FILE.stat().st_size < 2**20
    with np.load(FILE, allow_pickle=False) as arrays:
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
