"""SegGPT and Painter: paint the label of a slice, given prompts of images and paintings.

Wang et al., "SegGPT: Segmenting Everything In Context" (ICCV 2023) and "Images Speak in Images: A Generalist Painter
for In-Context Visual Learning" (CVPR 2023). Both run on the module of the package `transformers`: Painter is SegGPT
without tokens for the type of segmentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..pretrained.architecture import count, load
from ..pretrained.slice_progress import report_blocks

# Mean and standard deviation of the training images of both; red, green, blue, 0..1.
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
# Layer after which the features of image and painting are merged, in both models.
MERGE_INDEX = 2
# Number of layers whose features are the decoder's input.
STAGES = 4
# Pixels whose mean grey value exceeds this belong to the label.
THRESHOLD = 128.0
# Type of segmentation: the painted region is an instance, not a class.
INSTANCE = "instance"

# Names of the weights in the authors' files and in transformers.
_TYPES = ("type_token_semantic", "type_token_instance")
_NAMES = (
    (r"^patch_embed\.proj\.", "model.embeddings.patch_embeddings.projection."),
    (r"^mask_token$", "model.embeddings.mask_token"),
    (r"^segment_token_x$", "model.embeddings.segment_token_input"),
    (r"^segment_token_y$", "model.embeddings.segment_token_prompt"),
    (r"^type_token_cls$", "model.embeddings.type_token_semantic"),
    (r"^type_token_ins$", "model.embeddings.type_token_instance"),
    (r"^pos_embed$", "model.embeddings.position_embeddings"),
    (r"^blocks\.(\d+)\.norm1\.", r"model.encoder.layers.\1.layernorm_before."),
    (r"^blocks\.(\d+)\.norm2\.", r"model.encoder.layers.\1.layernorm_after."),
    (r"^blocks\.(\d+)\.attn\.", r"model.encoder.layers.\1.attention."),
    (r"^blocks\.(\d+)\.mlp\.fc(\d)\.", r"model.encoder.layers.\1.mlp.lin\2."),
    (r"^norm\.", "model.encoder.layernorm."),
    (r"^decoder_embed\.", "decoder.decoder_embed."),
    (r"^decoder_pred\.0\.", "decoder.decoder_pred.conv."),
    (r"^decoder_pred\.1\.", "decoder.decoder_pred.layernorm."),
    (r"^decoder_pred\.3\.", "decoder.decoder_pred.head."),
)


class InContextModel:
    """A model on a device.

    Parameters
    ----------
    state : mapping of str to Tensor
        In the layout of `transformers` or of the authors' files, of any model size.
    device : torch.device

    Raises
    ------
    KeyError, ValueError, RuntimeError
        The keys or shapes do not fit.
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.net = build(renamed(state)).to(self.device)
        self.net.requires_grad_(False)
        # Side length in pixels of the square input.
        self.side = int(self.net.config.image_size[1])

    @torch.no_grad()
    def paint(
        self,
        image: np.ndarray,
        prompts: Sequence[tuple[np.ndarray, np.ndarray]],
        report: Callable[[float], None] = lambda fraction: None,
    ) -> Tensor:
        """Paint the label of a slice.

        Parameters
        ----------
        image : float ndarray, shape [side, side, 3]
            From `as_input`.
        prompts : sequence of (image, painting)
            Labelled slices, from `as_input` and `as_painting`. Features are averaged over several prompts, beginning
            with the first layer.
        report : function
            Called with the finished fraction, 0..1.

        Returns
        -------
        Tensor, shape [side, side]
            Grey value 0..255, mean of the three channels.
        """
        queries = self._batch([image] * len(prompts))
        images = self._batch([prompt for prompt, _ in prompts])
        paintings = self._batch([painting for _, painting in prompts])
        with report_blocks(self.net.model.encoder.layers, report):
            painted = self.net(
                pixel_values=queries,
                prompt_pixel_values=images,
                prompt_masks=paintings,
                feature_ensemble=len(prompts) > 1,
                embedding_type=INSTANCE,
            ).pred_masks[0, :, self.side :]
        mean, std = (torch.as_tensor(values, dtype=torch.float32, device=self.device) for values in (MEAN, STD))
        grey = (painted.float() * std[:, None, None] + mean[:, None, None]) * 255
        intensities: torch.Tensor = grey.clamp(0, 255).mean(dim=0)
        return intensities

    def _batch(self, images: Sequence[np.ndarray]) -> Tensor:
        stacked = np.stack(images).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(stacked, dtype=np.float32)).to(self.device)


def as_input(rgb: np.ndarray, side: int) -> np.ndarray:
    """A slice, uint8 `[h, w, 3]`, resampled (cubic) to `[side, side, 3]` and normalised, float64."""
    from PIL import Image

    normalised: np.ndarray = (
        np.array(Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC)) / 255.0 - MEAN
    ) / STD
    return normalised


def as_painting(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask, bool `[h, w]`, as white on black, resampled (nearest) to `[side, side, 3]` and normalised, float64."""
    from PIL import Image

    white = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    painted = np.array(white.resize((side, side), Image.Resampling.NEAREST))
    normalised: np.ndarray = (np.repeat(painted[:, :, None], 3, axis=2) / 255.0 - MEAN) / STD
    return normalised


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of `transformers`; missing type tokens, as in Painter, are 0."""
    if "mask_token" not in state:
        return dict(state)
    result = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in _NAMES:
            name, count = re.subn(pattern, replacement, name)
            if count:
                break
        result[name] = value
    for token in _TYPES:
        result.setdefault(f"model.embeddings.{token}", torch.zeros_like(state["mask_token"]))
    return result


def build(state: Mapping[str, Tensor]) -> Any:
    """The model with the keys and shapes of a state, in evaluation mode, with corrected merging of prompts."""
    from transformers import SegGptConfig, SegGptForImageSegmentation

    layers = "model.encoder.layers."
    projection = state["model.embeddings.patch_embeddings.projection.weight"]
    width, patch = projection.shape[0], projection.shape[-1]
    positions = state["model.embeddings.position_embeddings"].shape[1] - 1
    depth = count(state, layers)
    tall, head = state[f"{layers}0.attention.rel_pos_h"].shape
    wide = state[f"{layers}0.attention.rel_pos_w"].shape[0]
    config = SegGptConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // head,
        image_size=((tall + 1) // 2 * patch, (wide + 1) // 2 * patch),
        patch_size=patch,
        num_channels=projection.shape[1],
        mlp_dim=state[f"{layers}0.mlp.lin1.weight"].shape[0],
        pretrain_image_size=round(positions**0.5) * patch,
        decoder_hidden_size=state["decoder.decoder_pred.conv.weight"].shape[0],
        merge_index=MERGE_INDEX,
        intermediate_hidden_state_indices=[depth * (stage + 1) // STAGES - 1 for stage in range(STAGES)],
        drop_path_rate=0.0,
    )
    with torch.device("meta"):
        net = SegGptForImageSegmentation(config)
    load(net, state)
    net.float()
    _correct_merge(net.model.encoder.layers[MERGE_INDEX])
    return net.eval()


def _correct_merge(layer: Any) -> None:
    """Average over prompts as the authors do in the layer after which image and painting are merged.

    `transformers` (5.23) treats that layer as if it came after the merge and averages over image and painting too.
    """
    forward = layer.forward

    def corrected(hidden_states: Tensor, _condition: int, *more: Any, **named: Any) -> Any:
        return forward(hidden_states, 2, *more, **named)

    layer.forward = corrected
