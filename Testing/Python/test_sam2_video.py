"""SAM 2 video: two layouts of keys give one model, and labels are tracked from both sides of a gap."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.engines.pretrained.intensity import GreyscaleSlices
from fewshot_annotate.engines.registry import runnable_engine
from support import reference
from support.data import load_case
from support.labels import small_case
from support.tiny_weights import WeightsFolder, random_sam2

# isort: split
from fewshot_annotate.engines.sam2 import network as sam2_model
from fewshot_annotate.engines.sam2.network import (
    Frames,
    Track,
    VideoModel,
    renamed,
    resized_probabilities,
    shared_features,
)

AXIS = SliceAxis(0)
REFERENCE = os.environ.get("FEWSHOT_MEDSAM2_REFERENCE")
SIDE = 64


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsFolder:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    weights_folder.put("sam2.1-hiera-tiny", renamed(random_sam2()))
    return weights_folder


def predict(volume: Volume, support: Support, indices: list[int], **options: Any) -> dict[int, np.ndarray]:
    engine = runnable_engine("sam2-video")(options={"side": SIDE, **options})
    engine.prepare(volume, support)
    return dict(engine.predict(indices))


def supported(indices: list[int]) -> tuple[Volume, Support]:
    volume, label_map = small_case()
    return volume, Support.from_label_map(label_map, AXIS, indices)


def test_the_released_model_has_exactly_these_keys() -> None:
    from transformers import Sam2VideoConfig, Sam2VideoModel

    with torch.device("meta"):
        official = Sam2VideoModel(Sam2VideoConfig())
        built = sam2_model.build(official.state_dict(), 1024, -1)
    assert {key: value.shape for key, value in built.state_dict().items()} == {
        key: value.shape for key, value in official.state_dict().items()
    }
    assert str(built) == str(official)
    config, expected = (model.config.vision_config.backbone_config.to_dict() for model in (built, official))
    assert config == expected
    assert set(renamed(random_sam2())) == set(official.state_dict())


@pytest.mark.slow
def test_the_authors_file_and_that_of_transformers_give_the_same(weights_folder: WeightsFolder) -> None:
    weights_folder.put("medsam2-latest", random_sam2())
    volume, support = supported([8, 14])
    of_transformers = predict(volume, support, [10], model="sam2.1-hiera-tiny")
    of_authors = predict(volume, support, [10], model="medsam2-latest")
    # The position of tensors in memory may change the order of sums.
    np.testing.assert_allclose(of_transformers[10], of_authors[10], atol=1e-5)
    assert of_transformers[10][1:].max() > 0.1


def test_slices_outside_the_labelled_range_are_not_filled(weights_folder: WeightsFolder) -> None:
    volume, support = supported([8, 14])
    results = predict(volume, support, [3, 7, 9, 15, 30])
    assert sorted(results) == [3, 7, 9, 15, 30]
    for index in (3, 7, 15, 30):
        assert results[index][0].min() == 1
    assert results[9][0].min() < 1


def test_a_label_is_not_tracked_beyond_the_slices_annotated_for_it(weights_folder: WeightsFolder) -> None:
    volume, label_map = small_case()
    array = label_map.array.copy()
    array[8][array[8] == 2] = 0
    array[14], array[20] = (label_map.array[14] == 1), (label_map.array[20] > 0)
    array[14][label_map.array[14] == 2] = 2
    support = Support.from_label_map(LabelMap(array, label_map.geometry), AXIS, [8, 14, 20], complete=False)
    assert support.annotated.tolist() == [[True, False], [True, True], [True, False]]
    results = predict(volume, support, [11, 17])
    assert results[11][2].max() == 0
    assert results[17][2].max() == 0
    assert results[11][1].max() > 0


def test_a_label_absent_on_both_sides_is_not_tracked(weights_folder: WeightsFolder) -> None:
    volume, label_map = small_case()
    array = label_map.array.copy()
    for index in (8, 14):
        array[index][array[index] == 2] = 0
    array[20] = label_map.array[20]
    support = Support.from_label_map(LabelMap(array, label_map.geometry), AXIS, [8, 14, 20])
    assert 2 in support.labels
    results = predict(volume, support, [11, 17])
    assert results[11][2].max() == 0
    assert results[17][2].max() > 0


@pytest.mark.slow
def test_the_result_of_a_gap_does_not_depend_on_other_requested_slices(weights_folder: WeightsFolder) -> None:
    volume, support = supported([8, 14, 20])
    everything = predict(volume, support, [9, 10, 11, 12, 13, 15, 16, 17, 18, 19])
    alone = predict(volume, support, [18])
    np.testing.assert_allclose(alone[18], everything[18], atol=1e-5)


@pytest.mark.slow
def test_both_labelled_slices_are_weighted_by_distance(weights_folder: WeightsFolder) -> None:
    volume, support = supported([8, 20])
    model = VideoModel(renamed(random_sam2()), SIDE)
    greys = GreyscaleSlices(volume.array)
    track = Track(model, Frames(13, lambda frame: model.frame(greys.rgb(frame + 8))), shared_features(model, 24))
    for row, index in enumerate(support.indices):
        track.condition(index - 8, support.masks[row] == support.labels[0])
    directions = {False: range(9, 12), True: range(19, 10, -1)}
    sides = {}
    for reverse, indices in directions.items():
        for index in indices:
            sides[reverse] = resized_probabilities(track.track(index - 8, reverse), support.masks.shape[1:])
        track.reset()
    expected = 0.75 * sides[False] + 0.25 * sides[True]
    one = Support(
        support.axis,
        support.indices,
        (support.masks == support.labels[0]).astype(np.uint8),
        (1,),
        support.annotated[:, :1],
    )
    np.testing.assert_allclose(predict(volume, one, [11])[11][1], expected, atol=1e-5)


def test_frames_are_made_when_they_are_accessed() -> None:
    loaded: list[int] = []

    def load(index: int) -> torch.Tensor:
        loaded.append(index)
        return torch.zeros(3, 2, 2)

    frames = Frames(1000, load)
    assert (len(frames), list(frames)[:2], loaded) == (1000, [0, 1], [])
    assert frames[7].shape == (3, 2, 2)
    assert loaded == [7]


def test_weights_of_another_model_are_refused_in_one_line(weights_folder: WeightsFolder) -> None:
    state = renamed(random_sam2())
    state["unknown.key"] = torch.zeros(1)
    weights_folder.put("sam2.1-hiera-tiny", state)
    volume, support = supported([8, 14])
    with pytest.raises(InputError, match=r"another model .*unknown\.key"):
        predict(volume, support, [10])


if REFERENCE:  # a checkout of bowang-lab/MedSAM2

    @pytest.mark.parametrize("side", [64, 128])
    def test_tracked_masks_equal_those_of_the_official_predictor(side: int) -> None:
        official = reference.medsam2(Path(str(REFERENCE)), side)
        official.load_state_dict(wide_state(official))
        volume, label_map = load_case("ct_liver")
        greys = GreyscaleSlices(volume.array)
        indices, labelled = list(range(8, 15)), (0, 3, 6)
        model = VideoModel({key: value.clone() for key, value in official.state_dict().items()}, side)
        frames = Frames(len(indices), lambda frame: model.frame(greys.rgb(indices[frame])))
        shape = volume.array.shape[1:]
        state = official.init_state(torch.stack([frames[frame] for frame in range(len(frames))]), *shape)
        track = Track(model, frames, shared_features(model, 16))
        for frame in labelled:
            mask = label_map.array[indices[frame]] > 0
            official.add_new_mask(state, frame, 1, torch.from_numpy(mask))
            track.condition(frame, mask)
        worst, changed, pixels = 0.0, 0, 0
        for reverse in (False, True):
            start = len(indices) - 1 if reverse else 0
            for frame, _, logits in official.propagate_in_video(state, start_frame_idx=start, reverse=reverse):
                if frame not in labelled:
                    expected = logits[0, 0].sigmoid().numpy()
                    found = resized_probabilities(track.track(frame, reverse), shape)
                    worst = max(worst, float(np.abs(found - expected).max()))
                    changed += int(((found > 0.5) != (expected > 0.5)).sum())
                    pixels += found.size
                    assert expected.max() > 0.5
        print(f"SAM 2 at {side}: probabilities differ by {worst:.1e} at most, {changed} of {pixels} pixels change")
        # Both store memories in 16 bits, so the last digit may be rounded differently.
        assert worst < 1e-3

    def wide_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        state = {
            key: value + 0.02 * torch.randn(value.shape, generator=generator)
            for key, value in model.state_dict().items()
        }
        state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += 20
        return state
