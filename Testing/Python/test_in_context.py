"""In-context engines: the inputs of their network, and the positions of its predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.labelled_example import QUANTILES, Example
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.base import RunContext, Stopped, label_slice
from fewshot_annotate.engines.in_context import base as in_context
from support.in_context import StandInEngine, filled, small_support

AXIS = SliceAxis(0)
LARGE_LOGIT = 20.0


class Threshold:
    """A stand-in that segments bright pixels, and records the labelled slices that it is given."""

    def __init__(self) -> None:
        self.encoded: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.images: list[torch.Tensor] = []

    def encode_support(self, images: torch.Tensor, labels: torch.Tensor) -> int:
        self.encoded.append((images, labels))
        return len(self.encoded) - 1

    def logits(self, image: torch.Tensor, supports: int) -> torch.Tensor:
        self.images.append(image)
        return LARGE_LOGIT * (image - 0.5)


class MeanLabel(Threshold):
    """A stand-in that predicts the mean of the given labels."""

    def logits(self, image: torch.Tensor, supports: int) -> torch.Tensor:
        return LARGE_LOGIT * (self.encoded[supports][1].mean(dim=0) - 0.5)


def bright_case(shape: tuple[int, int, int] = (9, 40, 60), spacing: float = 1.0) -> tuple[Volume, LabelMap]:
    """A bright shape without symmetry on a dark background; the label is the bright part."""
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    inside = ((rows - 15.0) / 9) ** 2 + ((columns - 38.0) / 14) ** 2 < 1
    inside |= (abs(rows - 26) < 3) & (abs(columns - 30) < 3)
    mask = np.broadcast_to(inside, shape).astype(np.uint8)
    image = (mask * 900.0 + 50).astype(np.float32)
    image[0, 0, 0], image[0, 0, 1] = 50, 950
    geometry = Geometry(shape, (1.0, spacing, 3.0))
    return Volume(image, geometry), LabelMap(mask, geometry)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.sum(a & b) / (np.sum(a) + np.sum(b)))


@pytest.mark.parametrize("view", ["box", "label", "slice", "tiles"])
@pytest.mark.parametrize("network", [Threshold, MeanLabel])
@pytest.mark.parametrize("spacing", [1.0, 2.5])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_predictions_have_the_position_of_their_pixels(
    view: str, network: Callable[[], Threshold], spacing: float, axis: int
) -> None:
    volume, label_map = bright_case(spacing=spacing)
    arrays = [np.ascontiguousarray(np.moveaxis(array, 0, axis)) for array in (volume.array, label_map.array)]
    sizes = list(volume.geometry.spacing[::-1])
    sizes.insert(axis, sizes.pop(0))
    geometry = Geometry(arrays[0].shape, (sizes[2], sizes[1], sizes[0]))
    support = Support.from_label_map(LabelMap(arrays[1], geometry), SliceAxis(axis), [1, 4, 7])
    result = filled(StandInEngine(network(), view=view), Volume(arrays[0], geometry), support)
    assert sorted(result) == [2, 3, 5, 6]
    for probabilities in result.values():
        assert probabilities.shape == (2, 40, 60)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
        labels, _ = label_slice(probabilities, support.labels)
        assert dice(labels == 1, label_map.array[0] == 1) > 0.98


def test_a_window_larger_than_the_network_is_resampled_and_tiles_are_not() -> None:
    volume, label_map = bright_case((5, 300, 330))
    wide = np.zeros_like(label_map.array)
    wide[:, 20:280, 30:300] = 1
    # The finest possible detail: a checkerboard of pixels.
    image = np.where(np.indices((300, 330)).sum(axis=0) % 2, 900.0, 50.0).astype(np.float32)
    fine = Volume(np.broadcast_to(image, wide.shape).copy(), volume.geometry)
    support = Support.from_label_map(LabelMap(wide, volume.geometry), AXIS, [0, 4])
    contrast = {}
    for view in ("box", "tiles"):
        network = Threshold()
        filled(StandInEngine(network, view=view), fine, support, [2])
        assert all(image.shape == (128, 128) for image in network.images)
        contrast[view] = max(float(image[40:60, 40:60].std()) for image in network.images)
    assert contrast["box"] < 0.1
    assert contrast["tiles"] > 0.4


def test_tiles_cover_every_pixel_of_the_box_without_seams() -> None:
    volume, label_map = bright_case((5, 300, 330))
    wide = np.zeros_like(label_map.array)
    wide[:, 20:280, 30:300] = 1
    support = Support.from_label_map(LabelMap(wide, volume.geometry), AXIS, [0, 4])
    bright = Volume(wide.astype(np.float32), volume.geometry)
    (probabilities,) = filled(StandInEngine(Threshold(), view="tiles"), bright, support, [2]).values()
    np.testing.assert_array_equal(label_slice(probabilities, (1,))[0], wide[2])


def test_image_and_support_have_the_same_intensity_scale() -> None:
    volume, label_map = bright_case()
    support = Support.from_label_map(label_map, AXIS, [1, 8])
    network = Threshold()
    filled(StandInEngine(network), volume, support)
    ((images, labels),) = network.encoded
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    for image in network.images:
        assert torch.equal(image, images[0])


def test_every_label_is_predicted_separately_from_slices_annotated_for_it() -> None:
    network = Threshold()
    volume, support = small_support()
    annotated = support.annotated.copy()
    annotated[0, 1] = False
    partial = Support(support.axis, support.indices, support.masks, support.labels, annotated)
    filled(StandInEngine(network), volume, partial, partial.unlabelled(partial.labelled_range())[:1])
    counts = [len(images) for images, _ in network.encoded]
    assert counts == [len(support.indices), len(support.indices) - 1]


def test_a_label_without_annotated_slices_is_not_predicted() -> None:
    network = Threshold()
    volume, support = small_support()
    masks = np.where(support.masks == support.labels[1], 0, support.masks)
    without_label = Support(support.axis, support.indices, masks, support.labels, support.annotated)
    result = filled(StandInEngine(network), volume, without_label, [support.indices[0] + 1])
    assert len(network.encoded) == 1
    assert max(float(probabilities[2].max()) for probabilities in result.values()) < 1e-6


def test_the_most_similar_slices_are_shown_if_there_are_too_many() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.random((2, 30, 30))
    kinds = [0, 1, 0, 1, 0, 1, 0, 1, 0]
    image = np.stack([patterns[kind] for kind in kinds]) + 0.02 * rng.random((9, 30, 30))
    geometry = Geometry(image.shape)
    mask = np.ones(image.shape, dtype=np.uint8)
    support = Support.from_label_map(LabelMap(mask, geometry), AXIS, [0, 1, 2, 3, 5, 6, 7, 8])
    network = Threshold()
    filled(StandInEngine(network, supports=3, view="slice"), Volume(image.astype(np.float32), geometry), support, [4])
    ((images, _),) = network.encoded
    differences = [float((image - network.images[0]).abs().mean()) for image in images]
    assert len(images) == 3
    assert max(differences) < 0.05


def test_one_slice_with_the_label_is_always_shown() -> None:
    volume, label_map = bright_case((12, 40, 60))
    mask = label_map.array.copy()
    mask[1:] = 0
    support = Support.from_label_map(LabelMap(mask, volume.geometry), AXIS, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11])
    for ensemble in (1, 8):
        network = Threshold()
        filled(StandInEngine(network, supports=2, ensemble=ensemble), volume, support, [4])
        assert all(labels.any() for _, labels in network.encoded)
        assert all(len(images) <= 2 for images, _ in network.encoded)


def test_an_ensemble_averages_predictions_of_mirrored_images() -> None:
    volume, label_map = bright_case()
    support = Support.from_label_map(label_map, AXIS, [0, 3, 5, 8])
    results = []
    for ensemble in (1, 4, 9):
        network = Threshold()
        results.append(filled(StandInEngine(network, ensemble=ensemble), volume, support, [4])[4])
        assert len(network.images) == ensemble
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-4)
    assert len({image.numpy().tobytes() for image in network.images}) == 4
    assert {len(images) for images, _ in network.encoded} == {4, 3}


def test_slices_of_other_volumes_suffice() -> None:
    volume, label_map = bright_case()
    mask = np.ascontiguousarray(np.repeat(label_map.array[0], 2, axis=1))  # twice the columns, of half the spacing
    image = mask * 20.0 + 3
    example = Example(image.astype(np.float32), mask, (1.0, 0.5), tuple(np.quantile(image, QUANTILES)), (1,))
    empty = Support(AXIS, (), np.zeros((0, 40, 60), np.uint8), (1,), np.zeros((0, 1), bool))
    engine = StandInEngine(MeanLabel())
    result = filled(engine, volume, empty, [0, 4], RunContext(examples=[example]))
    for probabilities in result.values():
        assert dice(label_slice(probabilities, (1,))[0] == 1, label_map.array[0] == 1) > 0.95
    ((images, _),) = engine.stand_in.encoded
    assert images.max() > 0.99
    assert images.min() < 0.01


def test_slices_of_other_volumes_are_shown_beside_those_of_the_volume_at_a_similar_physical_size() -> None:
    volume, label_map = bright_case()
    mask = np.zeros((100, 100), np.uint8)
    mask[50:90, 60:100] = np.kron(label_map.array[0, 6:26, 24:44], np.ones((2, 2), np.uint8))
    example = Example(mask.astype(np.float32), mask, (0.5, 1.5), (0, 0, 0, 1, 1), (1,))
    support = Support.from_label_map(label_map, AXIS, [0, 8])
    engine = StandInEngine(Threshold())
    filled(engine, volume, support, [4], RunContext(examples=[example]))
    ((images, labels),) = engine.stand_in.encoded
    assert len(images) == 3
    assert 0.5 < float(labels[2].sum() / labels[0].sum()) < 2


def test_with_many_labels_the_result_is_the_same_and_less_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, support = small_support()
    whole = filled(StandInEngine(MeanLabel()), volume, support)
    monkeypatch.setattr(in_context, "MAX_CACHE_BYTES", 0)
    network = MeanLabel()
    blocks = filled(StandInEngine(network), volume, support)
    assert list(blocks) == list(whole) == sorted(whole)
    for index, probabilities in whole.items():
        np.testing.assert_array_equal(blocks[index], probabilities)
    query_count = len(support.unlabelled(support.labelled_range()))
    assert len(network.encoded) == len(support.labels) * -(-query_count // in_context.BLOCK_SLICES)


class MemoryLimited(MeanLabel):
    """A stand-in whose memory suffices for `max_slices` slices."""

    def __init__(self, max_slices: int, error: BaseException) -> None:
        super().__init__()
        self.max_slices = max_slices
        self.error = error

    def encode_support(self, images: torch.Tensor, labels: torch.Tensor) -> int:
        if len(images) > self.max_slices:
            raise self.error
        return super().encode_support(images, labels)


MEMORY_ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: type(error).__name__)
def test_with_too_little_memory_fewer_slices_are_shown_with_a_warning(error: BaseException) -> None:
    volume, support = small_support(step=2)
    engine, reported = StandInEngine(MemoryLimited(4, error), supports=16), []
    result = filled(engine, volume, support, context=RunContext(warn=reported.append))
    assert sorted(result) == support.unlabelled(support.labelled_range())
    assert [message for message in reported if "4 labelled slices at a time" in str(message)]
    assert len(reported) == 2  # this one, and one that names the device


def test_without_memory_for_a_single_slice_advice_is_given() -> None:
    volume, support = small_support()
    with pytest.raises(InputError) as refused:
        filled(StandInEngine(MemoryLimited(0, MemoryError())), volume, support)
    assert refused.value.code == "memory_short"
    with pytest.raises(RuntimeError, match="something else"):
        filled(StandInEngine(MemoryLimited(0, RuntimeError("something else"))), volume, support)


def test_a_run_can_be_stopped_between_two_windows() -> None:
    volume, support = small_support()
    engine, reported = StandInEngine(Threshold()), []
    with pytest.raises(Stopped):
        filled(
            engine, volume, support, context=RunContext(on_progress=reported.append, stop=lambda: len(reported) == 3)
        )
    assert len(reported) == 3
    assert reported == sorted(reported)
