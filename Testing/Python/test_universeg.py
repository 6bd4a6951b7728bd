"""UniverSeg: the same results as its definition and official code, and refusals of its options and weights."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.cli.messages import error_text
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.engines.in_context import universeg as universeg_engine
from fewshot_annotate.engines.in_context import universeg_network as universeg_net
from fewshot_annotate.engines.in_context.universeg import OfficialNetwork, UniverSeg
from fewshot_annotate.engines.in_context.universeg_network import UniverSegNet, state_shapes
from fewshot_annotate.engines.pretrained import base
from fewshot_annotate.engines.registry import runnable_engine
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs import layers as layers_module
from fewshot_annotate.jobs.process import run_in_worker
from support.in_context import filled, small_support
from support.labels import every_nth, keep_slices, small_case
from support.plain_networks import plain_universeg
from support.tiny_weights import WeightsFolder, python_with_weights, random_tensors

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)
CPU = torch.device("cpu")
REFERENCE = os.environ.get("FEWSHOT_UNIVERSEG_REFERENCE")


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of all signs and sizes in the official layout; logits around 1."""
    return random_tensors(state_shapes(), seed, spread=0.05)


def random_images(count: int, size: tuple[int, int] = (16, 16), seed: int = 0) -> tuple[torch.Tensor, ...]:
    """An image, and labelled images."""
    generator = torch.Generator().manual_seed(seed)
    image, images = (torch.rand(shape, generator=generator) for shape in (size, (count, *size)))
    return image, images, (images > 0.6).float()


def difference(output: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((output - reference).abs().max() / reference.abs().max())


# --- the network: the same as its definition, and as the official code


def test_the_state_is_that_of_the_official_file() -> None:
    shapes = state_shapes()
    assert len(shapes) == 44
    assert shapes["enc_blocks.0.cross.cross_conv.weight"] == (64, 3, 3, 3)
    assert shapes["dec_blocks.2.support.vmapped.conv.bias"] == (64,)


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (8, 8)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_output_equals_that_of_the_published_definition(count: int, size: tuple[int, int]) -> None:
    state = random_state()
    image, images, labels = random_images(count, size)
    net = UniverSegNet(state, CPU)
    assert (
        difference(
            net.logits(image, net.encode_support(images, labels)), plain_universeg(state, image, images, labels)
        )
        < 1e-5
    )


@pytest.mark.parametrize("values", [1, 3 * 64 * 16 * 16, 1 << 30])
def test_chunks_of_any_size_give_the_same(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    state = random_state()
    image, images, labels = random_images(7)
    monkeypatch.setattr(universeg_net, "CHUNK_VALUES", values)
    net = UniverSegNet(state, CPU)
    assert (
        difference(
            net.logits(image, net.encode_support(images, labels)), plain_universeg(state, image, images, labels)
        )
        < 1e-5
    )


def test_an_encoded_support_set_can_be_used_for_many_images() -> None:
    net = UniverSegNet(random_state(), CPU)
    image, images, labels = random_images(3)
    encoded = net.encode_support(images, labels)
    first = net.logits(image, encoded)
    net.logits(random_images(3, seed=1)[0], encoded)
    assert torch.equal(net.logits(image, encoded), first)


if REFERENCE:  # a checkout of JJGO/UniverSeg, and its packages einops and pydantic

    @pytest.fixture
    def official(monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.syspath_prepend(REFERENCE)
        import universeg

        return universeg

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("count", [1, 8, 64])
    def test_the_output_equals_that_of_the_official_network(official: Any, count: int) -> None:
        state = random_state()
        image, images, labels = random_images(count, (128, 128))
        net, theirs = UniverSegNet(state, CPU), OfficialNetwork(state, CPU)
        ours = net.logits(image, net.encode_support(images, labels))
        found = difference(ours, theirs.logits(image, theirs.encode_support(images, labels)))
        print(f"UniverSeg, {count} supports: logits differ by {found:.1e} of the largest")
        assert found < 1e-5

    @pytest.mark.filterwarnings("ignore")
    def test_the_official_implementation_gives_the_same_slices(
        official: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        WeightsFolder(tmp_path, monkeypatch).put("universeg-v1", random_state())
        volume, support = small_support(step=9)
        results = [
            filled(UniverSeg(options={"implementation": name}), volume, support, support.unlabelled(range(15, 18)))
            for name in ("fast", "official")
        ]
        for index, probabilities in results[0].items():
            np.testing.assert_allclose(probabilities, results[1][index], atol=1e-4)


# --- what it needs, and the same worker and command line


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsFolder:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    weights_folder.put("universeg-v1", random_state())
    return weights_folder


def fill_command(folder: Path) -> list[str]:
    """Command line of a fill of a few slices."""
    volume, label_map = small_case()
    indices = every_nth(label_map, AXIS, 6)
    painted = keep_slices(label_map, AXIS, indices)
    write_array(folder / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / "support.nii.gz", [painted])
    command = ["fill", folder / "image.nii.gz", folder / "support.nii.gz", "-o", folder / "out.nii.gz"]
    more = ["--engine", "universeg", "--progress", "none", "--slices", f"{indices[0]}:{indices[0] + 4}"]
    return [*map(str, command), *more]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"enc_blocks.0.cross.cross_conv.weight": torch.zeros(64, 2, 3, 3)}, "another model"),
        ({"strange": torch.zeros(1)}, "unknown: strange"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(
    weights_folder: WeightsFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    state: dict[str, torch.Tensor],
    words: str,
) -> None:
    weights_folder.put("universeg-v1", {**random_state(), **state})
    monkeypatch.setattr(
        layers_module, "run_in_worker", partial(run_in_worker, python=python_with_weights(weights_folder.home))
    )
    assert main(fill_command(tmp_path)) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "computes on" not in line]
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / "out.nii.gz").exists()


def test_missing_weights_are_named_with_the_way_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WeightsFolder(tmp_path, monkeypatch)
    with pytest.raises(InputError) as refused:
        runnable_engine("universeg")
    line = error_text(refused.value)
    for words in ("models download universeg-v1", "OpenRAIL++-M"):
        assert words in line
    assert "\n" not in line


def test_missing_packages_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    reason = str(UniverSeg.unavailable_reason())
    assert reason.startswith("it needs the Python packages torch, platformdirs: ")
    assert reason.endswith('[adapt]"')


def test_the_official_implementation_is_refused_where_it_is_not_installed(
    weights_folder: WeightsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(universeg_engine, "find_spec", lambda name: None)
    with pytest.raises(InputError) as refused:
        UniverSeg(options={"implementation": "official"})
    assert "universeg" in str(refused.value)
    assert "pip install git+https://github.com/JJGO/UniverSeg" in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("view", "half", "box, label, slice, tiles"),
        ("implementation", "other", "fast, official"),
        ("supports", 65, "from 1 to 64"),
        ("ensemble", 0, "from 1 to 16"),
    ],
)
def test_invalid_options_are_refused(option: str, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        UniverSeg(options={option: value})


def test_the_implementation_is_an_option_of_the_command_line(
    weights_folder: WeightsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fill", "i.nrrd", "s.nrrd", "-o", "o.nrrd", "--engine", "universeg", "--implementation", "x"]) == 2
    assert "Option implementation of engine universeg cannot be 'x'" in capsys.readouterr().err
