"""PerSAM and PerSAM-F: the same masks as the official scripts, and a result where those stop with an error."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.pretrained.intensity import GreyscaleSlices
from fewshot_annotate.engines.registry import runnable_engine
from support import reference
from support.data import load_case
from support.labels import every_nth, small_case
from support.tiny_weights import Seeded, WeightsFolder, random_sam, randomise

# isort: split
from fewshot_annotate.engines.sam import persam_network as persam_model
from fewshot_annotate.engines.sam.network import EmbeddedSlice, SamModel, TargetPrompt, guided_by_target

AXIS = SliceAxis(0)
REFERENCE = os.environ.get("FEWSHOT_PERSAM_REFERENCE")
ENGINES = ("persam", "persam-f")


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsFolder:
    monkeypatch.setattr(persam_model, "STEPS", 20)
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    weights_folder.put("sam-vit-b", random_sam().state_dict())
    return weights_folder


@pytest.fixture(scope="module")
def model() -> SamModel:
    return SamModel(random_sam().state_dict())


def slice_and_mask() -> tuple[np.ndarray, np.ndarray]:
    volume, label_map = small_case()
    index = int((label_map.array > 0).sum(axis=(1, 2)).argmax())
    return GreyscaleSlices(volume.array).rgb(index), label_map.array[index] > 0


def predict(name: str, volume: Volume, support: Support, indices: list[int], **options: Any) -> dict[int, np.ndarray]:
    engine = runnable_engine(name)(options=options)
    engine.prepare(volume, support)
    return dict(engine.predict(indices))


def test_target_attention_equals_that_of_the_original_code(model: SamModel) -> None:
    transformer = model.sam.mask_decoder.transformer
    channels, grid = model.features_shape[1], model.features_shape[2]
    with Seeded(1):
        image, position = (torch.randn(1, channels, grid, grid) for _ in range(2))
        tokens = torch.randn(1, 7, channels)
        target = TargetPrompt(torch.randn(1, 1, channels), torch.rand(1, 1, 1, grid * grid))
    with torch.no_grad():
        expected = original_decoder(transformer, image, position, tokens.clone(), target)
        with guided_by_target(transformer, target):
            found = transformer(image, position, tokens)
        unguided = transformer(image, position, tokens)
    for found_tensor, expected_tensor in zip(found, expected, strict=True):
        torch.testing.assert_close(found_tensor, expected_tensor, atol=1e-5, rtol=1e-5)
    assert (unguided[0] - found[0]).abs().max() > 1e-3


def original_decoder(
    transformer: Any, image: Any, position: Any, tokens: Any, target: TargetPrompt
) -> tuple[Any, Any]:
    """The decoder of the PerSAM paper, which adds the target in place to tensors that are shared."""
    keys, position = (embedding.flatten(2).permute(0, 2, 1) for embedding in (image, position))
    queries = tokens
    for number, layer in enumerate(transformer.layers):
        queries += target.embedding
        if number == 0:
            queries = layer.norm1(layer.self_attn(queries, queries, queries))
        else:
            shifted = queries + tokens
            queries = layer.norm1(queries + layer.self_attn(shifted, shifted, queries))
        attention = layer.cross_attn_token_to_image
        q, k, v = (
            attention._separate_heads(part, attention.num_heads)
            for part in (
                attention.q_proj(queries + tokens),
                attention.k_proj(keys + position),
                attention.v_proj(keys),
            )
        )
        weights = (q @ k.permute(0, 1, 3, 2) / q.shape[-1] ** 0.5).softmax(-1)
        weights = (weights + target.attention).softmax(-1)
        queries = layer.norm2(queries + attention.out_proj(attention._recombine_heads(weights @ v)))
        queries = layer.norm3(queries + layer.mlp(queries))
        keys = layer.norm4(keys + layer.cross_attn_image_to_token(keys + position, queries + tokens, queries))
    final_queries = queries + tokens
    final_queries += target.embedding
    queries = queries + transformer.final_attn_token_to_image(final_queries, keys + position, keys)
    return transformer.norm_final_attn(queries), keys


@pytest.mark.parametrize("sharp", [False, True])
def test_a_mask_too_small_for_a_cell_still_gives_a_target(model: SamModel, sharp: bool) -> None:
    rgb, _ = slice_and_mask()
    picture = model.embed(rgb)
    mask = np.zeros(rgb.shape[:2], dtype=bool)
    mask[7, 9] = True
    target = persam_model.target_features(model, picture, mask, sharp)
    assert torch.isfinite(target.direction).all()
    row, column = (int(pixel * model.features_shape[2] / max(mask.shape)) for pixel in (7, 9))
    torch.testing.assert_close(target.embedding[0, 0], picture.features[0, :, row, column])


def test_a_mask_that_vanishes_where_a_large_slice_is_made_smaller_still_gives_a_target(model: SamModel) -> None:
    side = 4 * model.side
    picture = EmbeddedSlice(torch.randn(model.features_shape), (side, side), (model.side, model.side))
    mask = np.zeros((side, side), dtype=bool)
    mask[side - 1, side - 1] = True
    target = persam_model.target_features(model, picture, mask)
    torch.testing.assert_close(target.embedding[0, 0], picture.features[0, :, -1, -1])


def test_points_lie_where_the_image_is_most_and_least_similar_to_the_target(
    model: SamModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb, mask = slice_and_mask()
    picture = model.embed(rgb)
    target = persam_model.target_features(model, picture, mask)
    prompts: list[np.ndarray] = []
    decode = SamModel.decode

    def recorded(self: SamModel, picture: EmbeddedSlice, points: np.ndarray, *more: Any, **named: Any) -> Any:
        prompts.append(points)
        return decode(self, picture, points, *more, **named)

    monkeypatch.setattr(SamModel, "decode", recorded)
    persam_model.persam(model, picture, target)
    cosine = persam_model.similarity(model, picture, target).numpy()
    best, worst = prompts[0].astype(int)
    assert cosine[best[1], best[0]] == cosine.max()
    assert cosine[worst[1], worst[0]] == cosine.min()
    limit = (2.0, 3.0, 9.0, 12.0)
    prompts.clear()
    persam_model.persam(model, picture, target, limit)
    (x, y), _ = prompts[0]
    assert cosine[int(y), int(x)] == cosine[3:13, 2:10].max()


@pytest.mark.parametrize("side", [-1.0, 1.0], ids=["nothing", "everything"])
def test_an_empty_or_full_mask_is_not_an_error(model: SamModel, side: float) -> None:
    rgb, mask = slice_and_mask()
    picture = model.embed(rgb)
    target = persam_model.target_features(model, picture, mask)
    low = torch.full((4 * model.features_shape[2],) * 2, side)
    refined = persam_model.refine(model, picture, np.array([[3.0, 4.0]]), np.array([True]), low)
    assert refined.shape == mask.shape
    if side < 0:
        assert (refined < 0).all()
    mixture = torch.tensor([0.3, 0.3, 0.4]) * side * 1e-3
    assert persam_model.persam_f(model, picture, target, mixture).shape == mask.shape


def test_the_fitted_mixture_sums_to_1_and_reproduces_the_labelled_mask_better(model: SamModel) -> None:
    rgb, mask = slice_and_mask()
    picture = model.embed(rgb)
    target = persam_model.target_features(model, picture, mask, blend_maximum=True)
    reported: list[float] = []
    weights = persam_model.fit_mask_weights(model, picture, target, mask, reported.append)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert reported == sorted(reported)
    assert reported[-1] == 1
    cosine = persam_model.similarity(model, picture, target)
    points = np.array([persam_model.most_similar_pixel(cosine, None)], dtype=np.float64)
    low, _ = model.decode(picture, points, np.array([True]), multimask=True)
    logits = model.enlarge(low, picture).flatten(1)
    truth = torch.from_numpy(mask.astype(np.float32)).flatten()[None]

    def loss(mixture: torch.Tensor) -> float:
        return float(persam_model.mask_loss((logits * mixture[:, None]).sum(0)[None], truth))

    assert loss(weights) < loss(torch.ones(3) / 3)


@pytest.mark.parametrize("name", ENGINES)
def test_labels_are_found_only_where_neighbouring_labelled_slices_show_them(
    name: str, weights_folder: WeightsFolder
) -> None:
    volume, label_map = small_case()
    array = label_map.array.copy()
    array[array == 2] *= 0
    array[4][label_map.array[20] == 2] = 2  # the second label shows on one slice only
    array[10] = array[16] = label_map.array[16] == 1
    support = Support.from_label_map(LabelMap(array, label_map.geometry), AXIS, [4, 10, 16])
    results = predict(name, volume, support, [5, 12])
    assert results[5].shape == (3, *array.shape[1:])
    assert results[5][2].max() > 0
    assert results[12][1].max() > 0
    assert results[12][2].max() == 0
    rows, columns = np.nonzero(array[4] == 2)
    found = np.argwhere(results[5][2] > 0)
    assert (found.min(axis=0) >= (rows.min() - 12, columns.min() - 12)).all()


@pytest.mark.parametrize("name", ENGINES)
def test_one_labelled_slice_is_enough(name: str, weights_folder: WeightsFolder) -> None:
    volume, label_map = small_case()
    support = Support.from_label_map(label_map, AXIS, [16])
    results = predict(name, volume, support, [14, 18])
    assert all(probabilities[1:].max() > 0 for probabilities in results.values())


def test_persam_uses_the_nearest_slice_and_persam_f_the_one_with_the_largest_label(
    weights_folder: WeightsFolder,
) -> None:
    volume, label_map = small_case()
    support = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6))
    for name, rows in (("persam", {0, 1}), ("persam-f", None)):
        engine = runnable_engine(name)()
        engine.prepare(volume, support)
        index = support.indices[0] + 1
        row = engine.reference(index, 0)  # type: ignore[attr-defined]
        areas = (support.masks == support.labels[0]).sum(axis=(1, 2))
        assert row in rows if rows else areas[row] == areas.max()


if REFERENCE:  # a checkout of ZrrSkywalker/Personalize-SAM

    @pytest.mark.parametrize("script", ["persam", "persam_f"])
    def test_masks_equal_those_of_the_official_script(
        script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(persam_model, "STEPS", 50)
        volume, label_map = load_case("ct_liver")
        greys = GreyscaleSlices(volume.array)
        indices = every_nth(label_map, AXIS, 3)
        mask = label_map.array[indices[2]] > 0
        images = {f"{number:02}.jpg": greys.rgb(index) for number, index in enumerate(indices[2:5])}
        official = reference.persam(Path(str(REFERENCE)), script)
        make = official.sam_model_registry["vit_h"].__globals__["_build_sam"]
        with Seeded(0):
            sam = make(32, 2, 2, [1])
            randomise(sam)
        monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
        monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
        monkeypatch.setattr(official, "sam_model_registry", {"vit_h": lambda checkpoint: sam})
        written: dict[str, np.ndarray] = {}
        folder = tmp_path / "Images" / "organ"
        folder.mkdir(parents=True)
        for name in images:
            (folder / name).touch()

        def read(path: str) -> np.ndarray:
            if path.endswith(".png"):
                return np.repeat((mask * np.uint8(255))[:, :, None], 3, axis=2)
            return images[Path(path).name][:, :, ::-1].copy()

        files = SimpleNamespace(
            COLOR_BGR2RGB=4,
            cvtColor=lambda image, code: image[:, :, ::-1].copy(),
            imread=read,
            imwrite=lambda path, image: written.update({Path(path).stem: image}),
        )
        monkeypatch.setattr(official, "cv2", files)
        folders = (f"{tmp_path}/Images/", f"{tmp_path}/Masks/", f"{tmp_path}/out")
        arguments = Namespace(sam_type="vit_h", ref_idx="00", train_epoch=50, log_epoch=1000, lr=1e-3)
        getattr(official, script)(arguments, "organ", *folders)

        model = SamModel({key: value.detach().clone() for key, value in sam.state_dict().items()})
        pictures = [model.embed(image) for image in images.values()]
        target = persam_model.target_features(model, pictures[0], mask, blend_maximum=script == "persam_f")
        for name, picture in zip(images, pictures, strict=True):
            if script == "persam":
                logits = persam_model.persam(model, picture, target)
            else:
                weights = persam_model.fit_mask_weights(model, pictures[0], target, mask, lambda part: None)
                logits = persam_model.persam_f(model, picture, target, weights)
            expected = written[Path(name).stem][:, :, 2] > 0
            found = logits.numpy() > 0
            print(f"{script} {name}: {int(expected.sum())} pixels, {int((found != expected).sum())} differ")
            assert (found != expected).sum() <= 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 3)])
def test_a_slice_of_a_few_pixels_gets_finite_probabilities(
    name: str, shape: tuple[int, int], weights_folder: WeightsFolder
) -> None:
    grid = Geometry((5, *shape))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2, 0, 0] = 1
    volume = Volume(np.random.default_rng(0).normal(size=grid.shape), grid)
    found = predict(name, volume, Support.from_label_map(LabelMap(labels, grid), AXIS), [1, 3])
    for probabilities in found.values():
        np.testing.assert_allclose(probabilities.sum(axis=0), 1.0, atol=1e-5)
