"""UniverSeg: the same answers as its definition and official code; what its engine shows, and where that lands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.cli.messages import error_text
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.labelled_example import QUANTILES, Example
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.base import RunContext, Stopped, label_slice
from fewshot_annotate.engines.in_context import base as in_context
from fewshot_annotate.engines.in_context import universeg_network as universeg_net
from fewshot_annotate.engines.in_context.base import InContextEngine
from fewshot_annotate.engines.in_context.universeg import OfficialNetwork, UniverSeg
from fewshot_annotate.engines.in_context.universeg_network import UniverSegNet, state_shapes
from fewshot_annotate.engines.pretrained import base
from fewshot_annotate.engines.registry import runnable_engine
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs import layers as layers_module
from fewshot_annotate.jobs.process import run_in_worker
from support.labels import every, keep_slices, small_case
from support.plain_networks import plain_universeg
from support.tiny_weights import Shelf, python_with_shelf, random_tensors

AXIS = SliceAxis(0)
CPU = torch.device("cpu")
REFERENCE = os.environ.get("FEWSHOT_UNIVERSEG_REFERENCE")
SURE = 20.0


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of all signs and sizes in the official layout; logits around 1."""
    return random_tensors(state_shapes(), seed, spread=0.05)


def shown(count: int, size: tuple[int, int] = (16, 16), seed: int = 0) -> tuple[torch.Tensor, ...]:
    """An image, and labelled images."""
    generator = torch.Generator().manual_seed(seed)
    image, images = (torch.rand(shape, generator=generator) for shape in (size, (count, *size)))
    return image, images, (images > 0.6).float()


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference over the largest value."""
    return float((one - other).abs().max() / other.abs().max())


# --- the network: the same as its definition, and as the official code


def test_the_state_is_that_of_the_official_file() -> None:
    shapes = state_shapes()
    assert len(shapes) == 44
    assert shapes["enc_blocks.0.cross.cross_conv.weight"] == (64, 3, 3, 3)
    assert shapes["dec_blocks.2.support.vmapped.conv.bias"] == (64,)


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (8, 8)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_computes_what_the_definition_says(count: int, size: tuple[int, int]) -> None:
    state = random_state()
    image, images, labels = shown(count, size)
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
    image, images, labels = shown(7)
    monkeypatch.setattr(universeg_net, "CHUNK_VALUES", values)
    net = UniverSegNet(state, CPU)
    assert (
        difference(
            net.logits(image, net.encode_support(images, labels)), plain_universeg(state, image, images, labels)
        )
        < 1e-5
    )


def test_a_support_set_serves_many_images_and_is_left_as_it_was() -> None:
    net = UniverSegNet(random_state(), CPU)
    image, images, labels = shown(3)
    seen = net.encode_support(images, labels)
    first = net.logits(image, seen)
    net.logits(shown(3, seed=1)[0], seen)
    assert torch.equal(net.logits(image, seen), first)


if REFERENCE:  # a checkout of JJGO/UniverSeg, and its packages einops and pydantic

    @pytest.fixture
    def official(monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.syspath_prepend(REFERENCE)
        import universeg

        return universeg

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("count", [1, 8, 64])
    def test_it_equals_the_official_network(official: Any, count: int) -> None:
        state = random_state()
        image, images, labels = shown(count, (128, 128))
        net, theirs = UniverSegNet(state, CPU), OfficialNetwork(state, CPU)
        ours = net.logits(image, net.encode_support(images, labels))
        found = difference(ours, theirs.logits(image, theirs.encode_support(images, labels)))
        print(f"UniverSeg, {count} supports: logits differ by {found:.1e} of the largest")
        assert found < 1e-5

    @pytest.mark.filterwarnings("ignore")
    def test_the_official_implementation_gives_the_same_slices(
        official: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Shelf(tmp_path, monkeypatch).put("universeg-v1", random_state())
        volume, support = case(step=9)
        results = [
            filled(UniverSeg(options={"implementation": one}), volume, support, support.unlabelled(range(15, 18)))
            for one in ("fast", "official")
        ]
        for index, probabilities in results[0].items():
            np.testing.assert_allclose(probabilities, results[1][index], atol=1e-4)


# --- the engine, with stand-ins for the network whose answers are known


class Threshold:
    """A stand-in: says yes where the image is bright, whatever it is shown; remembers what that was."""

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.images: list[torch.Tensor] = []

    def encode_support(self, images: torch.Tensor, labels: torch.Tensor) -> int:
        self.seen.append((images, labels))
        return len(self.seen) - 1

    def logits(self, image: torch.Tensor, supports: int) -> torch.Tensor:
        self.images.append(image)
        return SURE * (image - 0.5)


class MeanLabel(Threshold):
    """A stand-in: says what most of the shown labels say."""

    def logits(self, image: torch.Tensor, supports: int) -> torch.Tensor:
        return SURE * (self.seen[supports][1].mean(dim=0) - 0.5)


class Told(InContextEngine):
    """The engine on a stand-in for the network."""

    name = title = summary = licence = "told"
    support_bytes = 1

    def __init__(self, network: Any, **options: Any) -> None:
        super().__init__(options=options)
        self.told = network

    @classmethod
    def state_shapes(cls) -> dict[str, tuple[int, ...]]:
        return {}

    def network(self, device: torch.device) -> Any:
        return self.told


def case(step: int = 4) -> tuple[Volume, Support]:
    volume, label_map = small_case()
    return volume, Support.from_label_map(label_map, AXIS, every(label_map, AXIS, step))


def bright_case(shape: tuple[int, int, int] = (9, 40, 60), spacing: float = 1.0) -> tuple[Volume, LabelMap]:
    """A bright ellipse on dark ground, of which the label is the bright part; no two corners alike."""
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    inside = ((rows - 15.0) / 9) ** 2 + ((columns - 38.0) / 14) ** 2 < 1
    inside |= (abs(rows - 26) < 3) & (abs(columns - 30) < 3)
    mask = np.broadcast_to(inside, shape).astype(np.uint8)
    image = (mask * 900.0 + 50).astype(np.float32)
    image[0, 0, 0], image[0, 0, 1] = 50, 950
    geometry = Geometry(shape, (1.0, spacing, 3.0))
    return Volume(image, geometry), LabelMap(mask, geometry)


def filled(
    engine: InContextEngine,
    volume: Volume,
    support: Support,
    wanted: Sequence[int] | None = None,
    context: RunContext = RunContext(),
) -> dict[int, np.ndarray]:
    engine.prepare(volume, support, context)
    return dict(engine.predict(support.unlabelled(support.labelled_range()) if wanted is None else wanted))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.sum(one & other) / (np.sum(one) + np.sum(other)))


@pytest.mark.parametrize("view", ["box", "label", "slice", "tiles"])
@pytest.mark.parametrize("network", [Threshold, MeanLabel])
@pytest.mark.parametrize("spacing", [1.0, 2.5])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_the_network_says_lands_on_the_pixels_it_speaks_of(
    view: str, network: Callable[[], Threshold], spacing: float, axis: int
) -> None:
    volume, label_map = bright_case(spacing=spacing)
    turned = [np.ascontiguousarray(np.moveaxis(array, 0, axis)) for array in (volume.array, label_map.array)]
    sizes = list(volume.geometry.spacing[::-1])
    sizes.insert(axis, sizes.pop(0))
    geometry = Geometry(turned[0].shape, (sizes[2], sizes[1], sizes[0]))
    support = Support.from_label_map(LabelMap(turned[1], geometry), SliceAxis(axis), [1, 4, 7])
    result = filled(Told(network(), view=view), Volume(turned[0], geometry), support)
    assert sorted(result) == [2, 3, 5, 6]
    for probabilities in result.values():
        assert probabilities.shape == (2, 40, 60)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
        labels, _ = label_slice(probabilities, support.labels)
        assert dice(labels == 1, label_map.array[0] == 1) > 0.98


def test_a_window_larger_than_the_network_is_seen_smaller_and_tiles_are_not() -> None:
    volume, label_map = bright_case((5, 300, 330))
    wide = np.zeros_like(label_map.array)
    wide[:, 20:280, 30:300] = 1
    image = np.where(np.indices((300, 330)).sum(axis=0) % 2, 900.0, 50.0).astype(np.float32)  # finest detail there is
    fine = Volume(np.broadcast_to(image, wide.shape).copy(), volume.geometry)
    support = Support.from_label_map(LabelMap(wide, volume.geometry), AXIS, [0, 4])
    contrast = {}
    for view in ("box", "tiles"):
        network = Threshold()
        filled(Told(network, view=view), fine, support, [2])
        assert all(one.shape == (128, 128) for one in network.images)
        contrast[view] = max(float(one[40:60, 40:60].std()) for one in network.images)
    assert contrast["box"] < 0.1
    assert contrast["tiles"] > 0.4


def test_tiles_cover_every_pixel_of_the_box_without_seams() -> None:
    volume, label_map = bright_case((5, 300, 330))
    wide = np.zeros_like(label_map.array)
    wide[:, 20:280, 30:300] = 1
    support = Support.from_label_map(LabelMap(wide, volume.geometry), AXIS, [0, 4])
    bright = Volume(wide.astype(np.float32), volume.geometry)
    (probabilities,) = filled(Told(Threshold(), view="tiles"), bright, support, [2]).values()
    np.testing.assert_array_equal(label_slice(probabilities, (1,))[0], wide[2])


def test_images_and_supports_are_brought_to_the_same_scale() -> None:
    volume, label_map = bright_case()
    support = Support.from_label_map(label_map, AXIS, [1, 8])
    network = Threshold()
    filled(Told(network), volume, support)
    ((images, labels),) = network.seen
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    for image in network.images:
        assert torch.equal(image, images[0])


def test_every_label_is_asked_for_by_itself_and_slices_that_do_not_speak_of_it_are_not_shown() -> None:
    network = Threshold()
    volume, support = case()
    known = support.annotated.copy()
    known[0, 1] = False
    silent = Support(support.axis, support.indices, support.masks, support.labels, known)
    filled(Told(network), volume, silent, silent.unlabelled(silent.labelled_range())[:1])
    counts = [len(images) for images, _ in network.seen]
    assert counts == [len(support.indices), len(support.indices) - 1]


def test_a_label_that_no_speaking_slice_shows_is_not_made_up() -> None:
    network = Threshold()
    volume, support = case()
    masks = np.where(support.masks == support.labels[1], 0, support.masks)
    none = Support(support.axis, support.indices, masks, support.labels, support.annotated)
    result = filled(Told(network), volume, none, [support.indices[0] + 1])
    assert len(network.seen) == 1
    assert max(float(probabilities[2].max()) for probabilities in result.values()) < 1e-6


def test_of_too_many_slices_the_most_similar_are_shown() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.random((2, 30, 30))
    kinds = [0, 1, 0, 1, 0, 1, 0, 1, 0]
    image = np.stack([patterns[kind] for kind in kinds]) + 0.02 * rng.random((9, 30, 30))
    geometry = Geometry(image.shape)
    mask = np.ones(image.shape, dtype=np.uint8)
    support = Support.from_label_map(LabelMap(mask, geometry), AXIS, [0, 1, 2, 3, 5, 6, 7, 8])
    network = Threshold()
    filled(Told(network, supports=3, view="slice"), Volume(image.astype(np.float32), geometry), support, [4])
    ((images, _),) = network.seen
    alike = [float((one - network.images[0]).abs().mean()) for one in images]
    assert len(images) == 3
    assert max(alike) < 0.05


def test_one_slice_with_the_label_is_always_shown() -> None:
    volume, label_map = bright_case((12, 40, 60))
    mask = label_map.array.copy()
    mask[1:] = 0
    support = Support.from_label_map(LabelMap(mask, volume.geometry), AXIS, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11])
    for ensemble in (1, 8):
        network = Threshold()
        filled(Told(network, supports=2, ensemble=ensemble), volume, support, [4])
        assert all(labels.any() for _, labels in network.seen)
        assert all(len(images) <= 2 for images, _ in network.seen)


def test_an_ensemble_turns_its_mirrored_answers_back_and_averages() -> None:
    volume, label_map = bright_case()
    support = Support.from_label_map(label_map, AXIS, [0, 3, 5, 8])
    results = []
    for ensemble in (1, 4, 9):
        network = Threshold()
        results.append(filled(Told(network, ensemble=ensemble), volume, support, [4])[4])
        assert len(network.images) == ensemble
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-4)
    assert len({one.numpy().tobytes() for one in network.images}) == 4
    assert {len(images) for images, _ in network.seen} == {4, 3}


def test_slices_of_other_volumes_are_enough() -> None:
    volume, label_map = bright_case()
    mask = np.ascontiguousarray(np.repeat(label_map.array[0], 2, axis=1))  # twice as fine along the rows
    image = mask * 20.0 + 3
    example = Example(image.astype(np.float32), mask, (1.0, 0.5), tuple(np.quantile(image, QUANTILES)), (1,))
    empty = Support(AXIS, (), np.zeros((0, 40, 60), np.uint8), (1,), np.zeros((0, 1), bool))
    engine = Told(MeanLabel())
    result = filled(engine, volume, empty, [0, 4], RunContext(examples=[example]))
    for probabilities in result.values():
        assert dice(label_slice(probabilities, (1,))[0] == 1, label_map.array[0] == 1) > 0.95
    ((images, _),) = engine.told.seen
    assert images.max() > 0.99
    assert images.min() < 0.01


def test_slices_of_other_volumes_are_shown_beside_those_of_the_volume_as_large_as_they_are() -> None:
    volume, label_map = bright_case()
    mask = np.zeros((100, 100), np.uint8)
    mask[50:90, 60:100] = np.kron(label_map.array[0, 6:26, 24:44], np.ones((2, 2), np.uint8))
    example = Example(mask.astype(np.float32), mask, (0.5, 1.5), (0, 0, 0, 1, 1), (1,))
    support = Support.from_label_map(label_map, AXIS, [0, 8])
    engine = Told(Threshold())
    filled(engine, volume, support, [4], RunContext(examples=[example]))
    ((images, labels),) = engine.told.seen
    assert len(images) == 3
    assert 0.5 < float(labels[2].sum() / labels[0].sum()) < 2


def test_with_many_labels_the_result_is_the_same_and_less_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, support = case()
    whole = filled(Told(MeanLabel()), volume, support)
    monkeypatch.setattr(in_context, "MAX_CACHE_BYTES", 0)
    network = MeanLabel()
    blocks = filled(Told(network), volume, support)
    assert list(blocks) == list(whole) == sorted(whole)
    for index, probabilities in whole.items():
        np.testing.assert_array_equal(blocks[index], probabilities)
    wanted = len(support.unlabelled(support.labelled_range()))
    assert len(network.seen) == len(support.labels) * -(-wanted // in_context.BLOCK_SLICES)


class Hungry(MeanLabel):
    """A stand-in that needs more memory than there is for more than `most` slices."""

    def __init__(self, most: int, error: BaseException) -> None:
        super().__init__()
        self.most = most
        self.error = error

    def encode_support(self, images: torch.Tensor, labels: torch.Tensor) -> int:
        if len(images) > self.most:
            raise self.error
        return super().encode_support(images, labels)


SHORT = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_with_too_little_memory_fewer_slices_are_shown_and_the_user_is_told(error: BaseException) -> None:
    volume, support = case(step=2)
    engine, told = Told(Hungry(4, error), supports=16), []
    result = filled(engine, volume, support, context=RunContext(warn=told.append))
    assert sorted(result) == support.unlabelled(support.labelled_range())
    assert [message for message in told if "4 labelled slices at a time" in str(message)]
    assert len(told) == 2  # that, and where it computes


def test_with_no_memory_at_all_it_says_what_to_do() -> None:
    volume, support = case()
    with pytest.raises(InputError) as refused:
        filled(Told(Hungry(0, MemoryError())), volume, support)
    assert refused.value.code == "memory_short"
    with pytest.raises(RuntimeError, match="something else"):
        filled(Told(Hungry(0, RuntimeError("something else"))), volume, support)


def test_a_run_that_should_stop_stops_between_two_looks() -> None:
    volume, support = case()
    engine, told = Told(Threshold()), []

    with pytest.raises(Stopped):
        filled(engine, volume, support, context=RunContext(on_progress=told.append, stop=lambda: len(told) == 3))
    assert len(told) == 3
    assert told == sorted(told)


# --- what it needs, and the same worker and command line


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf(tmp_path, monkeypatch)
    shelf.put("universeg-v1", random_state())
    return shelf


def fill_words(folder: Path) -> tuple[list[str], np.ndarray, list[int]]:
    """The words of a fill of a few slices, the painted labels and which slices they are on."""
    volume, label_map = small_case()
    indices = every(label_map, AXIS, 6)
    painted = keep_slices(label_map, AXIS, indices)
    write_array(folder / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / "support.nii.gz", [painted])
    words = ["fill", folder / "image.nii.gz", folder / "support.nii.gz", "-o", folder / "out.nii.gz"]
    more = ["--engine", "universeg", "--progress", "none", "--slices", f"{indices[0]}:{indices[0] + 4}"]
    return [*map(str, words), *more], painted.array, indices


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"enc_blocks.0.cross.cross_conv.weight": torch.zeros(64, 2, 3, 3)}, "another model"),
        ({"strange": torch.zeros(1)}, "unknown: strange"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(
    shelf: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    state: dict[str, torch.Tensor],
    words: str,
) -> None:
    shelf.put("universeg-v1", {**random_state(), **state})
    monkeypatch.setattr(layers_module, "run_in_worker", partial(run_in_worker, python=python_with_shelf(shelf.home)))
    assert main(fill_words(tmp_path)[0]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "computes on" not in line]
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / "out.nii.gz").exists()


def test_without_weights_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Shelf(tmp_path, monkeypatch)
    with pytest.raises(InputError) as refused:
        runnable_engine("universeg")
    line = error_text(refused.value)
    for words in ("models download universeg-v1", "OpenRAIL++-M"):
        assert words in line
    assert "\n" not in line


def test_without_packages_it_names_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    assert str(UniverSeg.unavailable_reason()) == (
        "it needs the Python packages torch, platformdirs: pip install torch platformdirs"
    )


def test_the_official_implementation_is_refused_where_it_is_not_installed(shelf: Shelf) -> None:
    if "universeg" in sys.modules:
        return
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
def test_options_that_make_no_sense_are_refused(option: str, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        UniverSeg(options={option: value})


def test_the_command_line_has_a_word_for_the_implementation(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fill", "i.nrrd", "s.nrrd", "-o", "o.nrrd", "--engine", "universeg", "--implementation", "x"]) == 2
    assert "Option implementation of engine universeg cannot be 'x'" in capsys.readouterr().err
