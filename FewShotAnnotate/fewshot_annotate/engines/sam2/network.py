"""SAM 2 on the slices of a volume as frames of a video, conditioned on labelled slices.

Ravi et al., "SAM 2: Segment Anything in Images and Videos" (2024); Ma et al., "MedSAM2: Segment Anything in 3D
Medical Images and Videos" (2025). The module is that of the package `transformers`; its processor, which needs
torchvision, is not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..pretrained.architecture import count, load

# Mean and standard deviation of the training images; red, green, blue, 0..1.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
# Indices of the encoder blocks with global attention and window sizes of the others, by number of blocks per stage.
GLOBAL_BLOCKS = {
    (1, 2, 7, 2): ([5, 7, 9], [8, 4, 14, 7]),
    (1, 2, 11, 2): ([7, 10, 13], [8, 4, 14, 7]),
    (2, 3, 16, 3): ([12, 16, 20], [8, 4, 14, 7]),
    (2, 6, 36, 4): ([23, 33, 43], [8, 4, 16, 8]),
}
# Encoders of at least this width have two attention heads in the first stage; smaller ones have one.
MIN_WIDTH_OF_TWO_HEADS = 112
STAGES = 4

# Names of the weights in the authors' files and in transformers; all matching patterns are applied, in this order.
_NAMES = (
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.norm(\d?)\.", r".layer_norm\1."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    # Heads of three layers.
    (r"((?:_mlps\.\d+|_head|^object_pointer_proj)\.)layers\.0\.", r"\1proj_in."),
    (r"((?:_mlps\.\d+|_head|^object_pointer_proj)\.)layers\.1\.", r"\1layers.0."),
    (r"((?:_mlps\.\d+|_head|^object_pointer_proj)\.)layers\.2\.", r"\1proj_out."),
)
_POINTS = "sam_prompt_encoder.point_embeddings."
_DOWNSAMPLER = "memory_encoder.mask_downsampler.encoder."


class VideoModel:
    """A model on a device.

    Parameters
    ----------
    state : mapping of str to Tensor
        In the layout of `transformers` or of the authors' files.
    side : int
        Side length in pixels of the square input, a multiple of 64.
    device : torch.device
    conditioning : int
        Maximum number of labelled slices, the nearest ones, in the memory of a slice; -1: all, as released.

    Raises
    ------
    KeyError, ValueError, RuntimeError
        The keys or shapes do not fit.
    """

    def __init__(
        self, state: Mapping[str, Tensor], side: int, device: torch.device | str = "cpu", conditioning: int = -1
    ) -> None:
        self.device = torch.device(device)
        self.side = side
        self.net = build(renamed(state), side, conditioning).to(self.device)
        self.net.requires_grad_(False)

    def frame(self, rgb: np.ndarray) -> Tensor:
        """A slice, uint8 `[h, w, 3]`, stretched (cubic) to the square and normalised: `[3, side, side]`."""
        from PIL import Image

        resized = Image.fromarray(rgb).resize((self.side, self.side), Image.Resampling.BICUBIC)
        normalised = (np.array(resized, dtype=np.float32) / np.float32(255) - MEAN) / STD
        return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))

    def mask(self, mask: np.ndarray) -> Tensor:
        """A mask, bool `[h, w]`, stretched to the square: `[1, 1, side, side]`, 0 and 1."""
        full_mask = torch.from_numpy(mask.astype(np.float32))[None, None]
        if mask.shape != (self.side, self.side):
            full_mask = functional.interpolate(
                full_mask, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
            )
        return (full_mask >= 0.5).float()


class Frames(Mapping[int, Tensor]):
    """Slices as frames, computed on access so that they are not all in memory."""

    def __init__(self, length: int, make: Callable[[int], Tensor]) -> None:
        self._length = length
        self._make = make

    def __getitem__(self, index: int) -> Tensor:
        return self._make(index)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._length))

    def __len__(self) -> int:
        return self._length


class Track:
    """One object tracked through the frames.

    Parameters
    ----------
    model : VideoModel
    frames : Frames
    features : Sam2VideoInferenceCache
        From `shared_features`, for all objects on the same frames.
    """

    def __init__(self, model: VideoModel, frames: Frames, features: Any) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self._model = model
        self._session = Sam2VideoInferenceSession(
            inference_device=model.device, inference_state_device=model.device, dtype=torch.float32
        )
        self._session.processed_frames = frames
        self._session.cache = features
        self._object = self._session.obj_id_to_idx(0)
        self._outputs = self._session.output_dict_per_obj[self._object]

    def condition(self, index: int, mask: np.ndarray) -> None:
        """Condition the memory on the object's mask on a frame, bool `[h, w]`, which may be empty."""
        self._session.add_mask_inputs(self._object, index, self._model.mask(mask))
        self._session.obj_with_new_inputs = [0]
        with torch.inference_mode():
            self._model.net(self._session, frame_idx=index)
        self._session.remove_mask_inputs(self._object, index)
        # Full-resolution masks are needed only to encode the memory.
        self._outputs["cond_frame_outputs"][index].pop("high_res_masks", None)

    def track(self, index: int, reverse: bool) -> Tensor:
        """Logits `[side / 4, side / 4]` of the object on the next frame in the direction of tracking."""
        with torch.inference_mode():
            masks = self._model.net(self._session, frame_idx=index, reverse=reverse).pred_masks[0, 0]
        self._outputs["non_cond_frame_outputs"][index].pop("high_res_masks", None)
        logits: torch.Tensor = masks.float()
        return logits

    def reset(self) -> None:
        """Remove the memory of all frames except the conditioning ones."""
        self._outputs["non_cond_frame_outputs"].clear()
        self._session.frames_tracked_per_obj[self._object].clear()


def shared_features(model: VideoModel, frames: int) -> Any:
    """Cache of the encoder's features of up to `frames` frames, shared by all objects."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceCache

    return Sam2VideoInferenceCache(model.device, model.device, frames)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of `transformers`."""
    if "maskmem_tpos_enc" not in state:
        return dict(state)
    points = [state[f"{_POINTS}{number}.weight"] for number in range(count(state, _POINTS))]
    result = {"prompt_encoder.point_embed.weight": torch.cat(points)}
    last = count(state, _DOWNSAMPLER) - 1
    for key, value in state.items():
        if key.startswith(_POINTS):
            continue
        name = key
        if key.startswith(_DOWNSAMPLER):
            number, kind = key.removeprefix(_DOWNSAMPLER).split(".")
            layer, parameter = divmod(int(number), 3)
            layer_name = (
                "final_conv" if int(number) == last else f"layers.{layer}.{('conv', 'layer_norm')[parameter]}"
            )
            name = f"memory_encoder.mask_downsampler.{layer_name}.{kind}"
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    shared = result["shared_image_embedding.positional_embedding"]
    result["prompt_encoder.shared_embedding.positional_embedding"] = shared
    return result


def build(state: Mapping[str, Tensor], side: int, conditioning: int) -> Any:
    """The model with the keys and shapes of a state, for square inputs of `side` pixels, in evaluation mode."""
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    backbone = "vision_encoder.backbone."
    widths = [
        state[f"{backbone}blocks.{block}.layer_norm2.weight"].shape[0]
        for block in range(count(state, f"{backbone}blocks."))
    ]
    stages = list(dict.fromkeys(widths))
    blocks = tuple(widths.count(width) for width in stages)
    if len(stages) != STAGES or blocks not in GLOBAL_BLOCKS:
        raise ValueError(f"encoder of {'+'.join(map(str, blocks))} blocks")
    global_blocks, windows = GLOBAL_BLOCKS[blocks]
    heads = 2 if widths[0] >= MIN_WIDTH_OF_TWO_HEADS else 1
    hidden = state["no_memory_embedding"].shape[-1]
    memory = state["memory_encoder.projection.weight"].shape[0]
    sizes = [[side // step, side // step] for step in (4, 8, 16)]
    fuser = "memory_encoder.memory_fuser.layers."
    config = Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(
                hidden_size=widths[0],
                num_attention_heads=heads,
                image_size=[side, side],
                blocks_per_stage=list(blocks),
                embed_dim_per_stage=stages,
                num_attention_heads_per_stage=[heads * 2**stage for stage in range(STAGES)],
                window_size_per_stage=windows,
                global_attention_blocks=global_blocks,
                window_positional_embedding_background_size=list(state[f"{backbone}pos_embed"].shape[-2:]),
            ),
            backbone_channel_list=stages[::-1],
            backbone_feature_sizes=sizes,
            fpn_hidden_size=hidden,
        ),
        prompt_encoder_config={"image_size": side, "hidden_size": hidden},
        mask_decoder_config={
            "hidden_size": hidden,
            "mlp_dim": state["mask_decoder.transformer.layers.0.mlp.proj_in.weight"].shape[0],
            "iou_head_hidden_dim": state["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0],
        },
        image_size=side,
        max_cond_frame_num=conditioning,
        num_maskmem=state["memory_temporal_positional_encoding"].shape[0],
        enable_occlusion_spatial_embedding="occlusion_spatial_embedding_parameter" in state,
        enable_temporal_pos_encoding_for_object_pointers=(
            "temporal_positional_encoding_projection_layer.weight" in state
        ),
        memory_attention_hidden_size=hidden,
        memory_attention_num_layers=count(state, "memory_attention.layers."),
        memory_attention_feed_forward_hidden_size=state["memory_attention.layers.0.linear1.weight"].shape[0],
        memory_attention_rope_feat_sizes=sizes[-1],
        memory_encoder_hidden_size=hidden,
        memory_encoder_output_channels=memory,
        mask_downsampler_embed_dim=hidden,
        memory_fuser_num_layers=count(state, fuser),
        memory_fuser_embed_dim=hidden,
        memory_fuser_intermediate_dim=state[f"{fuser}0.pointwise_conv1.weight"].shape[0],
    )
    net = Sam2VideoModel(config)
    load(net, state, optional=("prompt_encoder.shared_embedding.",))
    net.float()
    return net.eval()


def resized_probabilities(logits: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Probabilities, float32 `[h, w]`, from logits `[n, n]` resampled to a slice."""
    enlarged = functional.interpolate(logits[None, None], shape, mode="bilinear", align_corners=False)[0, 0]
    probability: np.ndarray = enlarged.sigmoid().cpu().numpy()
    return probability
