"""SAM and MedSAM: the same results as their official code, prompts from propagated labels, cached embeddings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fewshot_annotate.cli.messages import error_text
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.engines.base import Engine
from fewshot_annotate.engines.registry import runnable_engine
from fewshot_annotate.engines.sam.embeddings import EmbeddingCache
from support.data import load_case
from support.labels import every_nth, small_case
from support.tiny_weights import WeightsFolder, random_sam

# isort: split
from fewshot_annotate.engines.sam import network as sam_model
from fewshot_annotate.engines.sam.network import SamModel, stretch

AXIS = SliceAxis(0)
MEDSAM_REFERENCE = os.environ.get("FEWSHOT_MEDSAM_REFERENCE")
ENGINES = {"sam": "sam-vit-b", "medsam": "medsam-vit-b"}


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsFolder:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    for name in ENGINES.values():
        weights_folder.put(name, random_sam().state_dict())
    return weights_folder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Size of each image that an encoder has processed."""
    sizes: list[int] = []
    encode = SamModel.encode

    def counted(self: SamModel, image: torch.Tensor) -> torch.Tensor:
        sizes.append(image.shape[-1])
        return encode(self, image)

    monkeypatch.setattr(SamModel, "encode", counted)
    return sizes


def picture(height: int = 50, width: int = 70) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def prepared(name: str, volume: Volume, support: Support, **options: object) -> Engine:
    engine = runnable_engine(name)(options=options)
    engine.prepare(volume, support)
    return engine


def query_slices(support: Support, count: int = 4) -> list[int]:
    return support.unlabelled(support.labelled_range())[:count]


@pytest.fixture
def vertebrae() -> tuple[Volume, Support]:
    volume, label_map = small_case()
    return volume, Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6))


# --- the same as the official code


@pytest.mark.parametrize("several", [False, True])
def test_masks_of_sam_equal_those_of_its_package(several: bool) -> None:
    from segment_anything import SamPredictor

    official = random_sam()
    predictor = SamPredictor(official)
    predictor.set_image(picture())
    points, inside, box = np.array([[10.0, 20.0], [40.0, 30.0]]), np.array([True, False]), (5.0, 5.0, 40.0, 45.0)
    masks, scores, low = predictor.predict(
        points, inside.astype(int), np.array(box), multimask_output=several, return_logits=True
    )
    model = SamModel(official.state_dict())
    seen = model.embed(picture())
    logits, quality = model.decode(seen, points, inside, box, multimask=several)
    np.testing.assert_array_equal(logits.numpy(), low)
    np.testing.assert_array_equal(quality.numpy(), scores)
    np.testing.assert_array_equal(model.enlarge(logits, seen).numpy(), masks)
    again, _ = model.decode(seen, points, inside, mask=logits[:1], multimask=several)
    _, _, low_again = predictor.predict(points, inside.astype(int), mask_input=low[:1], multimask_output=several)
    np.testing.assert_array_equal(again.numpy(), low_again)


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_the_released_size_is_recognised_by_keys_and_shapes(size: str) -> None:
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        official = sam_model_registry[size]()
        built = sam_model.build(official.state_dict())
    assert str(built) == str(official)
    for block, expected in zip(built.image_encoder.blocks, official.image_encoder.blocks, strict=True):
        assert (block.window_size, block.attn.num_heads) == (expected.window_size, expected.attn.num_heads)
    assert built.image_encoder.img_size == official.image_encoder.img_size


def test_masks_of_medsam_equal_those_of_its_inference_script() -> None:
    official = random_sam()
    grey = picture(60, 90)[:, :, 0]
    model = SamModel(official.state_dict())
    seen = model.embed_stretched(grey)
    side = model.side
    image = torch.from_numpy(np.repeat(stretch(grey, side)[None, None], 3, axis=1))
    box = np.array([[5.0, 10.0, 60.0, 50.0]]) / np.array([90, 60, 90, 60]) * side
    with torch.no_grad():
        features = official.image_encoder(image)
        sparse, dense = official.prompt_encoder(
            points=None, boxes=torch.as_tensor(box, dtype=torch.float)[:, None, :], masks=None
        )
        low, _ = official.mask_decoder(
            image_embeddings=features,
            image_pe=official.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        expected = torch.nn.functional.interpolate(
            torch.sigmoid(low), size=(60, 90), mode="bilinear", align_corners=False
        )[0]
    logits, _ = model.decode(seen, box=(5.0, 10.0, 60.0, 50.0))
    np.testing.assert_allclose(sam_model.resized(logits.sigmoid(), (60, 90)), expected, atol=1e-6)


if MEDSAM_REFERENCE:  # a checkout of bowang-lab/MedSAM, and scikit-image

    def test_input_and_masks_of_medsam_equal_those_of_the_official_repository(weights_folder: WeightsFolder) -> None:
        import ast

        from skimage import transform

        source = (Path(str(MEDSAM_REFERENCE)) / "MedSAM_Inference.py").read_text(encoding="utf-8")
        (function,) = [
            node
            for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef) and node.name == "medsam_inference"
        ]
        scope: dict[str, object] = {"torch": torch, "F": torch.nn.functional, "np": np}
        exec(compile(ast.Module([function], []), "MedSAM_Inference.py", "exec"), scope)
        volume, label_map = load_case("ct_liver")
        support = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6))
        engine = prepared("medsam", volume, support)
        grey = engine.greyscale.grey(support.indices[1])
        official = random_sam()
        side = official.image_encoder.img_size
        big = transform.resize(
            np.repeat(grey[:, :, None], 3, axis=-1), (side, side), order=3, preserve_range=True, anti_aliasing=True
        ).astype(np.uint8)
        big = (big - big.min()) / np.clip(big.max() - big.min(), a_min=1e-8, a_max=None)
        difference = np.abs(big[:, :, 0] - stretch(grey, side)).max()
        height, width = grey.shape
        box = np.array([[40, 50, 120, 130]])
        with torch.no_grad():
            features = official.image_encoder(torch.tensor(big).float().permute(2, 0, 1)[None])
        mask = scope["medsam_inference"](  # type: ignore[operator]
            official, features, box / np.array([width, height, width, height]) * side, height, width
        )
        model = SamModel(official.state_dict())
        logits, _ = model.decode(model.embed_stretched(grey), box=(40.0, 50.0, 120.0, 130.0))
        found = sam_model.resized(logits.sigmoid(), (height, width))[0].numpy() > 0.5
        print(
            f"MedSAM: image differs by {difference:.1e}, mask in {int((found != mask).sum())} of {mask.size} pixels"
        )
        assert difference < 1e-6
        assert (found != mask).sum() == 0


# --- weights and options


def test_missing_weights_are_named_with_the_command_to_download_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WeightsFolder(tmp_path, monkeypatch)
    with pytest.raises(InputError) as refused:
        runnable_engine("sam")
    assert "models download sam-vit-b" in error_text(refused.value)


def test_the_size_of_the_model_is_an_option(weights_folder: WeightsFolder, vertebrae: tuple[Volume, Support]) -> None:
    weights_folder.put("sam-vit-h", random_sam(seed=1).state_dict())
    volume, support = vertebrae
    (index,) = query_slices(support, 1)
    ((_, small),) = prepared("sam", volume, support).predict([index])
    ((_, large),) = prepared("sam", volume, support, model="sam-vit-h").predict([index])
    assert np.abs(small - large).max() > 0
    with pytest.raises(InputError, match="sam-vit-l"):
        runnable_engine("sam")(options={"model": "sam-vit-l"})


def test_weights_of_another_model_are_refused_in_one_line(
    weights_folder: WeightsFolder, vertebrae: tuple[Volume, Support]
) -> None:
    state = random_sam().state_dict()
    del state["mask_decoder.iou_token.weight"]
    weights_folder.put("sam-vit-b", state)
    volume, support = vertebrae
    with pytest.raises(InputError) as refused:
        list(prepared("sam", volume, support).predict(query_slices(support, 1)))
    assert refused.value.code == "weights_architecture"


# --- prompts decide where labels can be


def test_labels_are_found_only_near_those_of_the_labelled_slices(weights_folder: WeightsFolder) -> None:
    volume, label_map = load_case("ct_liver")
    support = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6))
    engine = prepared("sam", volume, support)
    touched = np.zeros(support.masks.shape[1:], dtype=bool)
    for _, probabilities in engine.predict(query_slices(support, 6)):
        touched |= probabilities[1:].sum(axis=0) > 0
    rows, columns = np.nonzero((support.masks > 0).any(axis=0))
    tall, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert touched.any()
    found = np.argwhere(touched)
    slack = 5 + 0.25 * max(tall, wide)
    assert (found.min(axis=0) >= (rows.min() - slack, columns.min() - slack)).all()
    assert (found.max(axis=0) <= (rows.max() + slack, columns.max() + slack)).all()


def test_a_label_absent_on_both_sides_of_a_gap_is_absent_in_it(
    weights_folder: WeightsFolder, encoded: list[int]
) -> None:
    volume, label_map = small_case()
    masks = label_map.array.copy()
    masks[:] = 0
    masks[4:6] = label_map.array[4:6] * 0 + 1 * (label_map.array[15] > 0)
    support = Support.from_label_map(label_map.with_array(masks), AXIS, [4, 10, 20])
    ((_, probabilities),) = prepared("sam", volume, support).predict([15])
    assert probabilities[0].min() == 1
    assert encoded == []


# --- embeddings


def test_a_second_run_with_other_labels_skips_the_encoder(weights_folder: WeightsFolder, encoded: list[int]) -> None:
    volume, label_map = small_case()
    sparse = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 8))
    dense = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 4))
    indices = [index for index in query_slices(sparse, 9) if index not in dense.indices]
    first = dict(prepared("sam", volume, sparse).predict(indices))
    count = len(encoded)
    assert count == len(indices)
    again = dict(prepared("sam", volume, sparse).predict(indices))
    better = dict(prepared("sam", volume, dense).predict(indices))
    assert len(encoded) == count
    for index in indices:
        np.testing.assert_array_equal(first[index], again[index])
    assert any((first[index] != better[index]).any() for index in indices)


def test_embeddings_belong_to_one_model_and_one_preprocessing(
    weights_folder: WeightsFolder, encoded: list[int], vertebrae: tuple[Volume, Support]
) -> None:
    volume, support = vertebrae
    indices = query_slices(support, 1)
    list(prepared("sam", volume, support).predict(indices))
    list(prepared("medsam", volume, support).predict(indices))
    assert len(encoded) == 2
    weights_folder.put("sam-vit-b", random_sam(seed=5).state_dict())
    list(prepared("sam", volume, support).predict(indices))
    assert len(encoded) == 3


def test_embeddings_can_be_switched_off(
    weights_folder: WeightsFolder, encoded: list[int], vertebrae: tuple[Volume, Support]
) -> None:
    volume, support = vertebrae
    for _ in range(2):
        list(prepared("sam", volume, support, cache=0).predict(query_slices(support, 1)))
    assert len(encoded) == 2
    assert not list(weights_folder.home.rglob("*.embedding.npy"))


def test_the_cache_keeps_the_most_recently_used_within_its_limit(tmp_path: Path) -> None:
    folder = tmp_path / "embeddings"
    array = np.arange(256, dtype=np.float32)
    cache = EmbeddingCache(folder, 4 * (array.nbytes + 128))
    for number in range(4):
        cache.put(f"key{number}", array + number)
        os.utime(folder / f"key{number}.embedding.npy", (number, number))
    assert cache.get("key0") is not None
    cache.put("key4", array)
    kept = [number for number in range(5) if cache.get(f"key{number}") is not None]
    assert kept == [0, 2, 3, 4]
    assert folder.stat().st_mode & 0o077 == 0
    assert not list(folder.glob("*.partial"))


def test_a_damaged_embedding_is_computed_again(
    weights_folder: WeightsFolder, encoded: list[int], vertebrae: tuple[Volume, Support]
) -> None:
    volume, support = vertebrae
    ((_, first),) = prepared("sam", volume, support).predict(query_slices(support, 1))
    (path,) = weights_folder.home.rglob("*.embedding.npy")
    path.write_bytes(path.read_bytes()[:100])
    ((_, again),) = prepared("sam", volume, support).predict(query_slices(support, 1))
    assert len(encoded) == 2
    np.testing.assert_array_equal(first, again)


def test_a_cache_that_cannot_be_written_causes_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file" / "folder", 1 << 20)
    cache.put("key", np.zeros(3))
    assert cache.get("key") is None
