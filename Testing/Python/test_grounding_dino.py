"""Grounding DINO: names as text, boxes limited to the propagated labels, outlines by SAM or MedSAM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap, Segment, Volume
from fewshot_annotate.engines.base import Engine, RunContext
from fewshot_annotate.engines.pretrained.slice_progress import SliceProgress
from fewshot_annotate.engines.registry import runnable_engine
from fewshot_annotate.jobs.planning import EngineSettings, FillRequest, plan
from support.labels import every_nth, keep_slices, small_case
from support.tiny_weights import WeightsFolder, random_grounding_dino, random_sam, vocabulary

# isort: split
from fewshot_annotate.engines.grounding_dino.engine import overlaps
from fewshot_annotate.engines.grounding_dino.network import (
    HEADS,
    TEXT_HEAD,
    GroundingModel,
    as_input,
    build,
    clean,
    resized_shape,
)

AXIS = SliceAxis(0)
NAMES = {1: "Left_Kidneys", 2: "Liver."}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return random_grounding_dino(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def model(state: dict[str, torch.Tensor]) -> GroundingModel:
    return GroundingModel(state, vocabulary())


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]) -> WeightsFolder:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    weights_folder.put("grounding-dino-tiny", state)
    weights_folder.put_file("grounding-dino-vocabulary", "\n".join(vocabulary()).encode())
    weights_folder.put("sam-vit-b", random_sam().state_dict())
    return weights_folder


def rgb_slice(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def hippocampus() -> tuple[Volume, Support]:
    volume, label_map = small_case()
    return volume, Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 3))


def prepared(volume: Volume, support: Support, names: dict[int, str], **options: Any) -> Engine:
    engine = runnable_engine("grounding-dino")(options={"side": 64, "cache": 0, **options})
    engine.prepare(volume, support, RunContext(names=names))
    return engine


# --- comparison with transformers


def test_boxes_equal_those_of_transformers(
    tmp_path: Path, model: GroundingModel, state: dict[str, torch.Tensor]
) -> None:
    from transformers import BertTokenizer, GroundingDinoForObjectDetection
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
    from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor

    official = GroundingDinoForObjectDetection.from_pretrained(None, config=model.net.config, state_dict=state).eval()
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary())})
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160})
    inputs = images(rgb_slice(), return_tensors="pt")
    tokens = tokenizer(["left kidneys. liver."], return_tensors="pt")
    with torch.no_grad():
        output = official(**inputs, **tokens)
    expected = GroundingDinoProcessor.post_process_grounded_object_detection(
        _Decoder(tokenizer), output, tokens.input_ids, threshold=0.0, target_sizes=[(60, 90)]
    )[0]
    (text,) = model.texts(NAMES.values())
    assert list(text.ids) == tokens.input_ids[0].tolist()
    boxes, scores = model.detect(rgb_slice(), text, 96)
    np.testing.assert_allclose(boxes, expected["boxes"].numpy(), atol=1e-3)
    probabilities = output.logits[0].sigmoid().numpy()
    for score, (start, stop) in zip(scores, text.spans, strict=True):
        np.testing.assert_allclose(score, probabilities[:, start:stop].max(axis=1), atol=1e-5)


class _Decoder:
    """The part of a processor that the post-processing of boxes uses."""

    def __init__(self, tokenizer: Any) -> None:
        self.batch_decode = tokenizer.batch_decode


@pytest.mark.parametrize("shape", [(512, 512), (101, 122), (300, 1200), (1200, 300), (35, 52)])
def test_slices_are_resampled_as_by_the_processor_of_transformers(shape: tuple[int, int]) -> None:
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    rgb = rgb_slice(*shape)
    expected = GroundingDinoImageProcessorPil()(rgb, return_tensors="np")["pixel_values"][0]
    found = as_input(rgb, 800)
    assert found.shape == expected.shape == (3, *resized_shape(*shape, 800))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "side"), [((60, 90), 32), ((200, 9), 64), ((1, 60), 64)])
def test_small_and_narrow_inputs_are_enlarged_until_each_query_has_a_cell(
    model: GroundingModel, shape: tuple[int, int], side: int
) -> None:
    (text,) = model.texts(NAMES.values())
    boxes, _ = model.detect(rgb_slice(*shape), text, side)
    assert boxes.shape == (model.net.config.num_queries, 4)


def test_defaults_of_transformers_are_those_of_the_released_models() -> None:
    from transformers import GroundingDinoConfig

    config = GroundingDinoConfig()
    assert (config.encoder_attention_heads, config.text_config.hidden_size, config.max_text_len) == (HEADS, 768, 256)
    assert config.text_config.num_attention_heads == 768 // TEXT_HEAD


def test_the_configuration_is_derived_from_shapes(state: dict[str, torch.Tensor]) -> None:
    config = build(state).config
    assert config.backbone_config.depths == [1, 1, 2, 1]
    assert (config.backbone_config.window_size, config.backbone_config.num_heads) == (4, [1, 1, 2, 2])
    assert (config.num_queries, config.d_model, config.text_config.max_position_embeddings) == (50, 64, 32)


# --- names


def test_names_become_words_in_lower_case_that_end_with_a_full_stop(model: GroundingModel) -> None:
    assert [clean(name) for name in NAMES.values()] == ["left kidneys", "liver"]
    (text,) = model.texts(["Left kidneys", "liver"])
    words = vocabulary()
    assert [words[token] for token in text.ids] == ["[CLS]", "left", "kidney", "##s", ".", "liver", ".", "[SEP]"]
    assert text.spans == ((1, 4), (5, 6))


def test_more_names_than_fit_make_several_texts(model: GroundingModel) -> None:
    names = ["left kidney", "liver"] * 10
    texts = model.texts(names)
    assert len(texts) > 1
    assert sum(len(text.spans) for text in texts) == len(names)
    assert max(len(text.ids) for text in texts) <= model.max_tokens


def test_a_name_without_words_is_left_out(model: GroundingModel) -> None:
    (text,) = model.texts(["", "liver"])
    _, scores = model.detect(rgb_slice(), text, 64)
    assert scores[0].max() == 0
    assert scores[1].max() > 0


def test_segment_names_are_given_only_to_engines_that_use_them(weights_folder: WeightsFolder) -> None:
    volume, label_map = small_case()
    segments = tuple(Segment(value=value, name=name) for value, name in NAMES.items())
    painted = keep_slices(
        LabelMap(label_map.array, label_map.geometry, segments), AXIS, every_nth(label_map, AXIS, 6)
    )
    for engine, expected in (("grounding-dino", NAMES), ("propagate", {})):
        (run,) = plan(FillRequest(volume=volume, layers=[painted], axis=AXIS, settings=EngineSettings(engine)))
        job = Job.from_json(json.loads(json.dumps(run.job.to_json())))
        assert job.names == expected
        assert job == run.job


def test_segments_whose_names_are_no_words_are_reported_and_only_propagated(
    weights_folder: WeightsFolder, hippocampus: tuple[Volume, Support], monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[Message] = []
    engine = runnable_engine("grounding-dino")(options={"cache": 0})
    names = {1: "Segment_1", 2: "Secret words"}
    engine.prepare(*hippocampus, RunContext(warn=warnings.append, names=names))
    assert len(warnings) == 1
    assert str(warnings[0]).startswith("1 of 2 segments")
    assert "ecret" not in str(warnings[0])

    def refuse(*_: object) -> None:
        raise AssertionError("a name without words was searched")

    monkeypatch.setattr(GroundingModel, "detect", refuse)
    ((_, probabilities),) = prepared(*hippocampus, {}).predict([hippocampus[1].indices[1] + 1])
    assert probabilities[1:].max() > 0


# --- boxes


def test_boxes_far_from_the_propagated_label_are_ignored(
    weights_folder: WeightsFolder, hippocampus: tuple[Volume, Support], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, support = hippocampus
    engine = prepared(volume, support, NAMES)
    index = support.indices[2] + 1
    ((_, propagated),) = engine.prompts.prompts([index])  # type: ignore[attr-defined]
    (label_index, prompts) = next(iter(propagated.items()))
    x0, y0, x1, y1 = prompts[0].box
    near, far = (x0 + 1, y0, x1, y1), (0.0, 0.0, 3.0, 3.0)

    def detection(boxes: list[tuple[float, ...]], score: list[float]) -> Any:
        def detect(self: Any, rgb: Any, text: Any, *_: Any) -> tuple[np.ndarray, np.ndarray]:
            return np.array(boxes, dtype=np.float32), np.array([score] * len(text.spans), dtype=np.float32)

        return detect

    for boxes, score, expected in (
        ([far, near], [0.9, 0.5], near),
        ([far, near], [0.9, 0.1], prompts[0].box),  # below the threshold
        ([far], [0.9], prompts[0].box),
    ):
        monkeypatch.setattr(GroundingModel, "detect", detection(boxes, score))
        refined = engine.refine(index, {label_index: prompts[:1]}, SliceProgress(engine.context.report_progress, 1))  # type: ignore[attr-defined]
        np.testing.assert_allclose(refined[label_index][0].box, expected, atol=1e-5)


def test_overlap_is_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [2, 2, 2, 2]], dtype=np.float32)
    np.testing.assert_allclose(overlaps(boxes, (0, 0, 2, 2)), [1, 1 / 7, 0, 0])


@pytest.mark.parametrize("outlines", ["sam-vit-b", "medsam-vit-b"])
def test_outlines_are_drawn_by_sam_or_medsam(
    outlines: str, weights_folder: WeightsFolder, hippocampus: tuple[Volume, Support]
) -> None:
    weights_folder.put(outlines, random_sam().state_dict())
    volume, support = hippocampus
    index = support.indices[2] + 1
    engine = prepared(volume, support, NAMES, model=outlines, threshold=0.0, overlap=0.0)
    ((_, probabilities),) = engine.predict([index])
    assert 0 < probabilities[1:].max() < 1
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    alone_name = "medsam" if outlines.startswith("medsam") else "sam"
    alone = runnable_engine(alone_name)(options={"cache": 0})
    assert engine.variant is alone.variant  # type: ignore[attr-defined]


def test_a_vocabulary_of_another_length_is_refused(
    weights_folder: WeightsFolder, hippocampus: tuple[Volume, Support]
) -> None:
    weights_folder.put_file("grounding-dino-vocabulary", b"too\nfew")
    volume, support = hippocampus
    with pytest.raises(InputError, match="2 words for"):
        list(prepared(volume, support, NAMES).predict([support.indices[2] + 1]))
