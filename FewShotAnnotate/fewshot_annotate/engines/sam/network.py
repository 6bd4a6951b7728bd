"""Segment Anything, built from the keys and shapes of a checkpoint.

Kirillov et al., "Segment Anything" (ICCV 2023). The modules are those of the package `segment-anything`; the decoder
with a target is that of PerSAM (Zhang et al., "Personalize Segment Anything Model with One Shot", ICLR 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..pretrained.architecture import count

# Mean and standard deviation of SAM's training images; red, green, blue, 0..255.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
# Attention heads of the mask decoder in the released models; shapes do not determine it.
DECODER_HEADS = 8


@dataclass(frozen=True)
class EmbeddedSlice:
    """Image embedding of a slice, the input of the mask decoder.

    Attributes
    ----------
    features : Tensor, shape [1, channels, grid, grid]
        The image embedding.
    size : (h, w)
        Shape of the slice in pixels.
    input_size : (h, w)
        Shape of the part of the model's input that shows the slice; the rest is padding.
    """

    features: Tensor
    size: tuple[int, int]
    input_size: tuple[int, int]


@dataclass(frozen=True)
class TargetPrompt:
    """PerSAM's guidance of the mask decoder towards the target object.

    Attributes
    ----------
    embedding : Tensor, shape [1, 1, channels]
    attention : Tensor, shape [1, 1, 1, grid * grid]
        Similarity of each grid cell to the target, 0..1.
    """

    embedding: Tensor
    attention: Tensor


class SamModel:
    """A model on a device.

    Parameters
    ----------
    state : mapping of str to Tensor
        In the layout of the official checkpoints, of any model size.
    device : torch.device

    Raises
    ------
    KeyError, RuntimeError
        The keys or shapes do not fit.
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.sam = build(state).to(device)
        self.sam.requires_grad_(False)
        self.device = torch.device(device)
        self.side = int(self.sam.image_encoder.img_size)
        grid = self.sam.prompt_encoder.image_embedding_size
        self.features_shape = (1, self.sam.prompt_encoder.embed_dim, *grid)

    def embed(self, rgb: np.ndarray, features: np.ndarray | None = None) -> EmbeddedSlice:
        """Embed a slice, uint8 `[h, w, 3]`, scaled to the model's side length and padded at the bottom and right.

        The encoder does not run if its output is given as `features`.
        """
        from segment_anything.utils.transforms import ResizeLongestSide

        resize = ResizeLongestSide(self.side)
        size = rgb.shape[0], rgb.shape[1]
        input_size = resize.get_preprocess_shape(*size, self.side)
        if features is None:
            encoded = self.encode(self.sam.preprocess(self.as_input(resize.apply_image(rgb))))
        else:
            encoded = torch.from_numpy(features).to(self.device)
        return EmbeddedSlice(encoded, size, input_size)

    def embed_stretched(self, grey: np.ndarray, features: np.ndarray | None = None) -> EmbeddedSlice:
        """As `embed`, for a slice uint8 `[h, w]` stretched to the model's square as by MedSAM."""
        if features is None:
            image = torch.from_numpy(stretch(grey, self.side)).to(self.device)
            encoded = self.encode(image.expand(1, 3, -1, -1))
        else:
            encoded = torch.from_numpy(features).to(self.device)
        return EmbeddedSlice(encoded, (grey.shape[0], grey.shape[1]), (self.side, self.side))

    def as_input(self, rgb: np.ndarray) -> Tensor:
        """Tensor `[1, 3, h, w]` of an image `[h, w, 3]`, on the device."""
        return torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1).contiguous()[None]

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Embedding `[1, channels, grid, grid]`, float32, of a preprocessed image `[1, 3, side, side]`."""
        features: Tensor = self.sam.image_encoder(image.float())
        return features.float()

    def precision(self) -> str:
        """Device and data type that the encoder computes with in the current context."""
        kind = self.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        return f"{kind} {dtype}"

    @torch.no_grad()
    def decode(
        self,
        embedded: EmbeddedSlice,
        points: np.ndarray | None = None,
        inside: np.ndarray | None = None,
        box: tuple[float, float, float, float] | None = None,
        mask: Tensor | None = None,
        multimask: bool = False,
        target: TargetPrompt | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Low-resolution masks for one prompt.

        Parameters
        ----------
        embedded : EmbeddedSlice
        points : float ndarray, shape [n, 2], optional
            x and y in pixels of the slice.
        inside : bool ndarray, shape [n]
            Whether each point is a foreground point.
        box : (x0, y0, x1, y1), optional
            In pixels of the slice.
        mask : Tensor, shape [1, 4 * grid, 4 * grid], optional
            Logits of an earlier prediction.
        multimask : bool
            Return three masks of increasing size instead of one.
        target : TargetPrompt, optional
            Guidance of PerSAM.

        Returns
        -------
        logits : Tensor, shape [n, 4 * grid, 4 * grid]
        scores : Tensor, shape [n]
            IoU estimated by the model.
        """
        scale = np.array([embedded.input_size[1] / embedded.size[1], embedded.input_size[0] / embedded.size[0]])
        point_prompt = box_prompt = None
        if points is not None and inside is not None:
            point_prompt = (
                self._float(points * scale)[None],
                torch.as_tensor(inside.astype(np.int32))[None].to(self.device),
            )
        if box is not None:
            box_prompt = self._float((np.array(box).reshape(2, 2) * scale).reshape(1, 4))
        sparse, dense = self.sam.prompt_encoder(
            points=point_prompt, boxes=box_prompt, masks=None if mask is None else mask[None].float()
        )
        logits, scores = self.decode_prompt(embedded, sparse, dense, multimask, target)
        return logits[0], scores[0]

    def decode_prompt(
        self,
        embedded: EmbeddedSlice,
        sparse: Tensor,
        dense: Tensor,
        multimask: bool = False,
        target: TargetPrompt | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `decode`, for encoded prompts and with a batch axis first: `[1, n, ...]`."""
        position = self.sam.prompt_encoder.get_dense_pe()
        decoder = self.sam.mask_decoder
        with nullcontext() if target is None else guided_by_target(decoder.transformer, target):
            result: tuple[Tensor, Tensor] = decoder(
                image_embeddings=embedded.features,
                image_pe=position,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
        return result

    def enlarge(self, logits: Tensor, embedded: EmbeddedSlice) -> Tensor:
        """Logits `[n, 4 * grid, 4 * grid]` at the slice's own resolution, `[n, h, w]`, without the padding."""
        enlarged: Tensor = self.sam.postprocess_masks(logits[None], embedded.input_size, embedded.size)[0]
        return enlarged

    def _float(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)


def build(state: Mapping[str, Tensor]) -> Any:
    """The model with the keys and shapes of a checkpoint, in evaluation mode."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    patch = state["image_encoder.patch_embed.proj.weight"]
    width, patch_size = patch.shape[0], patch.shape[-1]
    grid = state["image_encoder.pos_embed"].shape[1]
    depth = count(state, "image_encoder.blocks.")
    rel_pos_shapes = [state[f"image_encoder.blocks.{block}.attn.rel_pos_h"].shape for block in range(depth)]
    global_length = 2 * grid - 1
    windowed = [length for length, _ in rel_pos_shapes if length != global_length]
    channels = state["prompt_encoder.no_mask_embed.weight"].shape[1]
    side = grid * patch_size
    layers = "mask_decoder.transformer.layers."
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=side,
            patch_size=patch_size,
            embed_dim=width,
            depth=depth,
            num_heads=width // rel_pos_shapes[0][1],
            mlp_ratio=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
            out_chans=channels,
            qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=(windowed[0] + 1) // 2 if windowed else 0,
            global_attn_indexes=tuple(
                block for block, (length, _) in enumerate(rel_pos_shapes) if length == global_length
            ),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(side, side),
            mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            transformer=TwoWayTransformer(
                depth=count(state, layers),
                embedding_dim=channels,
                mlp_dim=state[f"{layers}0.mlp.lin1.weight"].shape[0],
                num_heads=DECODER_HEADS,
            ),
            transformer_dim=channels,
            iou_head_depth=count(state, "mask_decoder.iou_prediction_head.layers."),
            iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )
    sam.load_state_dict(dict(state))
    return sam.eval()


@contextmanager
def guided_by_target(transformer: Any, target: TargetPrompt) -> Iterator[None]:
    """Context manager: guide the decoder's transformer by PerSAM's target."""

    def forward(image: Tensor, position: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        keys = image.flatten(2).permute(0, 2, 1)
        position = position.flatten(2).permute(0, 2, 1)
        # PerSAM adds the target to the tokens in place, so it is included wherever the tokens are added again.
        queries = tokens = tokens + target.embedding
        for number, layer in enumerate(transformer.layers):
            if number:
                queries = queries + target.embedding
            queries, keys = layer(queries, keys, tokens, position)
        final_queries = queries + tokens + target.embedding
        queries = queries + transformer.final_attn_token_to_image(q=final_queries, k=keys + position, v=keys)
        return transformer.norm_final_attn(queries), keys

    def attend(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (
            attention._separate_heads(project(x), attention.num_heads)
            for project, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
        weights = torch.softmax(weights + target.attention, dim=-1)
        result: Tensor = attention.out_proj(attention._recombine_heads(weights @ v))
        return result

    attentions = [layer.cross_attn_token_to_image for layer in transformer.layers]
    transformer.forward = forward
    for attention in attentions:
        attention.forward = partial(attend, attention)
    try:
        yield
    finally:
        for changed in (transformer, *attentions):
            del changed.forward


def stretch(grey: np.ndarray, side: int) -> np.ndarray:
    """A slice `[h, w]`, uint8, stretched to `[side, side]` and normalised to 0..1 as by MedSAM, float32."""
    from scipy import ndimage

    factors = np.array(grey.shape) / side
    source = grey.astype(np.float64)
    if (factors > 1).any():
        source = ndimage.gaussian_filter(source, np.maximum(0, (factors - 1) / 2), mode="mirror")
    zoomed = ndimage.zoom(source, 1 / factors, order=3, mode="mirror", grid_mode=True)
    zoomed = np.clip(zoomed, grey.min(), grey.max()).astype(np.uint8)
    minimum, maximum = int(zoomed.min()), int(zoomed.max())
    scaled: np.ndarray = ((zoomed - minimum) / max(maximum - minimum, 1e-8)).astype(np.float32)
    return scaled


def resized(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample probabilities or logits `[n, h, w]`."""
    return functional.interpolate(image[None], shape, mode="bilinear", align_corners=False)[0]
