"""Grounding DINO: detection of boxes by text.

Liu et al., "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection" (ECCV 2024). The
module is that of the package `transformers`; its processor, which needs torchvision, is not used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..pretrained.architecture import count
from ..pretrained.slice_progress import report_blocks

# Mean and standard deviation of the training images; red, green, blue, 0..1.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
# Maximum ratio of the longest side to the requested shortest side.
LONGEST_PER_SHORTEST = 1333 / 800
# Pixels of a cell of the finest feature map.
CELL_PIXELS = 8
# Attention heads of the detector, and width of a head of the text encoder, in the released models; shapes do not
# determine them.
HEADS = 8
TEXT_HEAD = 64

_BACKBONE = "model.backbone.conv_encoder.model."
_TEXT = "model.text_backbone."


@dataclass(frozen=True)
class Text:
    """Several names as one text, each followed by a full stop.

    Attributes
    ----------
    ids : tuple of int
        Token IDs, from the classifier token to the separator.
    spans : tuple of (start, stop)
        Range of the tokens of each name, without the full stop.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class GroundingModel:
    """A model on a device.

    Parameters
    ----------
    state : mapping of str to Tensor
        In the layout of the released file, of any model size.
    vocabulary : sequence of str
        Tokens of the text encoder.
    device : torch.device

    Raises
    ------
    KeyError, ValueError, RuntimeError
        The keys or shapes do not fit.
    """

    def __init__(
        self, state: Mapping[str, Tensor], vocabulary: Sequence[str], device: torch.device | str = "cpu"
    ) -> None:
        from transformers import BertTokenizer

        self.device = torch.device(device)
        self.net = build(state).to(self.device)
        self.net.requires_grad_(False)
        if len(vocabulary) != self.net.config.text_config.vocab_size:
            raise ValueError(f"{len(vocabulary)} words for {self.net.config.text_config.vocab_size}")
        self._tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)})
        config = self.net.config
        self.max_tokens = min(config.max_text_len, config.text_config.max_position_embeddings)

    def texts(self, names: Sequence[str]) -> list[Text]:
        """Group names, in order, into as few texts as the model's maximum length allows."""
        full_stop = self._tokenizer.convert_tokens_to_ids(".")
        groups: list[list[list[int]]] = [[]]
        for name in names:
            tokens = self._tokenizer.encode(clean(name), add_special_tokens=False)[: self.max_tokens - 3]
            used = sum(len(other) + 1 for other in groups[-1])
            if groups[-1] and used + len(tokens) + 3 > self.max_tokens:
                groups.append([])
            groups[-1].append(tokens)
        texts = []
        for group in groups:
            ids, spans = [self._tokenizer.cls_token_id], []
            for tokens in group:
                spans.append((len(ids), len(ids) + len(tokens)))
                ids += [*tokens, full_stop]
            texts.append(Text((*ids, self._tokenizer.sep_token_id), tuple(spans)))
        return texts

    @torch.no_grad()
    def detect(
        self, rgb: np.ndarray, text: Text, shortest: int, report: Callable[[float], None] = lambda fraction: None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Detect boxes on a slice and score them for each name.

        Parameters
        ----------
        rgb : uint8 ndarray, shape [h, w, 3]
        text : Text
        shortest : int
            Shortest side of the model's input in pixels; more where the model would not have a cell for each query.
        report : function
            Called with the finished fraction, 0..1.

        Returns
        -------
        boxes : float32 ndarray, shape [queries, 4]
            x0, y0, x1, y1 in pixels of the slice.
        scores : float32 ndarray, shape [names, queries]
            Maximum over the tokens of a name, 0..1.
        """
        side = sufficient_side(rgb.shape[0], rgb.shape[1], shortest, self.net.config.num_queries)
        pixels = torch.from_numpy(as_input(rgb, side))[None].to(self.device)
        ids = torch.tensor([text.ids], device=self.device)
        with report_blocks([*self.net.model.encoder.layers, *self.net.model.decoder.layers], report):
            output = self.net(
                pixel_values=pixels,
                pixel_mask=torch.ones((1, *pixels.shape[-2:]), dtype=torch.long, device=self.device),
                input_ids=ids,
                token_type_ids=torch.zeros_like(ids),
                attention_mask=torch.ones_like(ids),
            )
        x, y, width, height = output.pred_boxes[0].float().cpu().numpy().T
        sides = np.array([rgb.shape[1], rgb.shape[0]] * 2, dtype=np.float32)
        boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1) * sides
        probabilities = output.logits[0].float().sigmoid().cpu().numpy()
        return boxes, np.stack([_max_over_tokens(probabilities[:, start:stop]) for start, stop in text.spans])


def clean(name: str) -> str:
    """Normalise a name: lower case, with spaces instead of the punctuation that would end it."""
    return " ".join(re.sub(r"[._?]+", " ", name.lower()).split())


def as_input(rgb: np.ndarray, shortest: int) -> np.ndarray:
    """A slice, uint8 `[h, w, 3]`, resampled (linear) and normalised: float32 `[3, h, w]`, aspect kept."""
    from PIL import Image

    height, width = resized_shape(rgb.shape[0], rgb.shape[1], shortest)
    resized = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    return np.ascontiguousarray(((resized / np.float32(255) - MEAN) / STD).transpose(2, 0, 1))


def resized_shape(height: int, width: int, shortest: int) -> tuple[int, int]:
    """Shape with the requested shortest side, or a shorter one if the longest side would exceed its maximum."""
    longest = round(shortest * LONGEST_PER_SHORTEST)
    low, high = min(height, width), max(height, width)
    exact: float = shortest
    if high / low * shortest > longest:
        exact = longest * low / high
    short, long = round(exact), int(exact * high / low)
    return (short, long) if height <= width else (long, short)


def sufficient_side(height: int, width: int, shortest: int, queries: int) -> int:
    """The shortest side, at least `shortest`, of an input that has as many cells as the model has queries."""
    side = shortest
    while math.prod(length // CELL_PIXELS for length in resized_shape(height, width, side)) < queries:
        side += CELL_PIXELS
    return side


def build(state: Mapping[str, Tensor]) -> Any:
    """The model with the keys and shapes of a state, in evaluation mode."""
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig
    from transformers.utils import logging

    stages = f"{_BACKBONE}encoder.layers."
    tables = [
        state[f"{stages}{stage}.blocks.0.attention.self.relative_position_bias_table"].shape
        for stage in range(count(state, stages))
    ]
    vocabulary_size, hidden = state[f"{_TEXT}embeddings.word_embeddings.weight"].shape
    queries, width = state["model.query_position_embeddings.weight"].shape
    layers = f"{_TEXT}encoder.layer."
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=state[f"{_BACKBONE}embeddings.patch_embeddings.projection.weight"].shape[0],
            depths=[count(state, f"{stages}{stage}.blocks.") for stage in range(len(tables))],
            num_heads=[heads for _, heads in tables],
            window_size=(round(tables[0][0] ** 0.5) + 1) // 2,
            out_indices=list(range(2, len(tables) + 1)),
        ),
        text_config=BertConfig(
            vocab_size=vocabulary_size,
            hidden_size=hidden,
            num_hidden_layers=count(state, layers),
            num_attention_heads=max(1, hidden // TEXT_HEAD),
            intermediate_size=state[f"{layers}0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=state[f"{_TEXT}embeddings.position_embeddings.weight"].shape[0],
        ),
        num_queries=queries,
        d_model=width,
        encoder_layers=count(state, "model.encoder.layers."),
        decoder_layers=count(state, "model.decoder.layers."),
        encoder_ffn_dim=state["model.encoder.layers.0.deformable_layer.fc1.weight"].shape[0],
        decoder_ffn_dim=state["model.decoder.layers.0.fc1.weight"].shape[0],
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        num_feature_levels=state["model.level_embed"].shape[0],
    )
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # `from_pretrained` handles renamed keys and shared weights.
        net, loading_info = GroundingDinoForObjectDetection.from_pretrained(
            None, config=config, state_dict=dict(state), output_loading_info=True
        )
    finally:
        if bars:
            logging.enable_progress_bar()
    for kind in ("missing", "unexpected", "mismatched"):
        keys = sorted(map(str, loading_info[f"{kind}_keys"]))
        if keys:
            raise ValueError(f"{kind}: {', '.join(keys[:3])}")
    return net.float().eval()


def _max_over_tokens(probabilities: np.ndarray) -> np.ndarray:
    """Highest of `[queries, tokens]` along tokens; 0 if there are none."""
    highest: np.ndarray = probabilities.max(axis=1, initial=0.0)
    return highest
