"""Small random weights with the keys of official checkpoints, in a table and a folder of their own.

The real loading code and forward passes run with them, but the results are noise.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.weights import catalog

import support.torchvision_standin  # noqa: F401 (must come before what imports torchvision)
from support.python_program import python_program

TABLE_VARIABLE = "FEWSHOT_TEST_WEIGHTS_TABLE"
GRID = 8
PATCH = 16


def random_sam(side: int = GRID * PATCH, seed: int = 0) -> torch.nn.Module:
    """The package's own model, as small as possible, with random weights."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    grid, channels = side // PATCH, 32
    with Seeded(seed):
        model = Sam(
            ImageEncoderViT(
                img_size=side,
                patch_size=PATCH,
                embed_dim=32,
                depth=2,
                num_heads=2,
                mlp_ratio=4,
                out_chans=channels,
                qkv_bias=True,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=4,
                global_attn_indexes=(1,),
            ),
            PromptEncoder(
                embed_dim=channels,
                image_embedding_size=(grid, grid),
                input_image_size=(side, side),
                mask_in_chans=16,
            ),
            MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=64, num_heads=8),
                transformer_dim=channels,
                iou_head_depth=3,
                iou_head_hidden_dim=32,
            ),
        )
        randomise(model)
    return model.eval()


class Seeded:
    """Random numbers of torch from a seed within the block, and as before after it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._state = torch.get_rng_state()
        torch.manual_seed(self._seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self._state)


def randomise(model: torch.nn.Module, spread: float = 0.1) -> None:
    """Normally distributed weights everywhere, also where training would begin with 0; scales of norms around 1."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.normal_(0, spread)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter += 1


class WeightsFolder:
    """A folder of weights with its own table; `weights` knows no other while it is in use.

    Parameters
    ----------
    folder : Path
    patch : pytest.MonkeyPatch
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = folder / "home"
        self._table = folder / "table.json"
        self._rows = json.loads(catalog.TABLE.read_text(encoding="utf-8"))
        self._write()
        patch.setattr(catalog, "TABLE", self._table)
        patch.setenv(HOME_VARIABLE, str(self.home))
        patch.setenv(TABLE_VARIABLE, str(self._table))

    def put(self, name: str, state: Mapping[str, torch.Tensor]) -> Path:
        """Write a checkpoint of the table with these tensors."""
        (row,) = [row for row in self._rows["checkpoints"] if row["name"] == name]
        path = self.home / "weights" / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
        else:
            torch.save({row["state_key"]: dict(state)} if row.get("state_key") else dict(state), path)
        self._update_row(row, path)
        return path

    def put_checkpoint(self, name: str, content: object) -> Path:
        """Write a checkpoint of the table that holds more than a state dict."""
        file = io.BytesIO()
        torch.save(content, file)
        return self.put_file(name, file.getvalue())

    def put_file(self, name: str, content: bytes) -> Path:
        """Write a file of the table that is no state dict."""
        (row,) = [row for row in self._rows["checkpoints"] if row["name"] == name]
        path = self.home / "weights" / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._update_row(row, path)
        return path

    def _update_row(self, row: dict[str, object], path: Path) -> None:
        """Write size and checksum of a file into its row of the table."""
        row.update(size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), md5=None)
        self._write()

    def _write(self) -> None:
        self._table.write_text(json.dumps(self._rows), encoding="utf-8")


def use_table_of_environment() -> None:
    """Use the table that a `WeightsFolder` made, in another process."""
    catalog.TABLE = Path(os.environ[TABLE_VARIABLE])


def python_with_weights(folder: Path) -> str:
    """A program that runs a Python script as Python does, with the weights in use and without requests."""
    prelude = (
        "from support.offline import forbid_requests",
        "forbid_requests()",
        "from support.tiny_weights import use_table_of_environment",
        "use_table_of_environment()",
    )
    return python_program(folder / "python-with-weights", *prelude)


def random_seggpt(type_tokens: bool = True, side: int = 64, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights in the layout of the authors' SegGPT file or, without type tokens, of their Painter file."""
    width, heads, depth, decoder = 32, 2, 24, 8
    tall, wide = 2 * side // PATCH, side // PATCH
    shapes: dict[str, tuple[int, ...]] = {
        "mask_token": (1, 1, 1, width),
        "segment_token_x": (1, 1, 1, width),
        "segment_token_y": (1, 1, 1, width),
        "pos_embed": (1, 1 + 3 * 3, width),
        "patch_embed.proj.weight": (width, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "decoder_embed.weight": (PATCH**2 * decoder, 4 * width),
        "decoder_embed.bias": (PATCH**2 * decoder,),
        "decoder_pred.0.weight": (decoder, decoder, 3, 3),
        "decoder_pred.0.bias": (decoder,),
        "decoder_pred.1.weight": (decoder,),
        "decoder_pred.1.bias": (decoder,),
        "decoder_pred.3.weight": (3, decoder, 1, 1),
        "decoder_pred.3.bias": (3,),
    }
    if type_tokens:
        shapes |= {"type_token_cls": (1, 1, 1, width), "type_token_ins": (1, 1, 1, width)}
    for block in range(depth):
        shapes |= {
            f"blocks.{block}.norm1.weight": (width,),
            f"blocks.{block}.norm1.bias": (width,),
            f"blocks.{block}.attn.rel_pos_h": (2 * tall - 1, width // heads),
            f"blocks.{block}.attn.rel_pos_w": (2 * wide - 1, width // heads),
            f"blocks.{block}.attn.qkv.weight": (3 * width, width),
            f"blocks.{block}.attn.qkv.bias": (3 * width,),
            f"blocks.{block}.attn.proj.weight": (width, width),
            f"blocks.{block}.attn.proj.bias": (width,),
            f"blocks.{block}.norm2.weight": (width,),
            f"blocks.{block}.norm2.bias": (width,),
            f"blocks.{block}.mlp.fc1.weight": (4 * width, width),
            f"blocks.{block}.mlp.fc1.bias": (4 * width,),
            f"blocks.{block}.mlp.fc2.weight": (width, 4 * width),
            f"blocks.{block}.mlp.fc2.bias": (width,),
        }
    return random_tensors(shapes, seed)


def random_tensors(
    shapes: Mapping[str, tuple[int, ...]], seed: int = 0, spread: float = 0.1
) -> dict[str, torch.Tensor]:
    """Normally distributed tensors; scales of norms (vectors named weight) are around 1."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: spread * torch.randn(shape, generator=generator) + (len(shape) == 1 and name.endswith("weight"))
        for name, shape in shapes.items()
    }


def random_sam2(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights in the layout of the authors' SAM 2.1 files, which MedSAM2 shares; objects are always present."""
    wide, hidden, memory, deep = 16, 128, 64, 64
    quarter, eighth = hidden // 4, hidden // 8
    shapes: dict[str, tuple[int, ...]] = {
        "maskmem_tpos_enc": (7, 1, 1, memory),
        "no_mem_embed": (1, 1, hidden),
        "no_mem_pos_enc": (1, 1, hidden),
        "no_obj_ptr": (1, hidden),
        "no_obj_embed_spatial": (1, memory),
        "image_encoder.trunk.pos_embed": (1, wide, 7, 7),
        "image_encoder.trunk.pos_embed_window": (1, wide, 8, 8),
        "image_encoder.trunk.patch_embed.proj.weight": (wide, 3, 7, 7),
        "image_encoder.trunk.patch_embed.proj.bias": (wide,),
        "mask_downsample.weight": (1, 1, 4, 4),
        "mask_downsample.bias": (1,),
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, hidden // 2),
        "sam_prompt_encoder.not_a_point_embed.weight": (1, hidden),
        "sam_prompt_encoder.no_mask_embed.weight": (1, hidden),
        "sam_mask_decoder.iou_token.weight": (1, hidden),
        "sam_mask_decoder.mask_tokens.weight": (4, hidden),
        "sam_mask_decoder.obj_score_token.weight": (1, hidden),
    }
    for number in range(4):
        shapes[f"sam_prompt_encoder.point_embeddings.{number}.weight"] = (1, hidden)

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[0],)

    def norm(name: str, size: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

    def attention(name: str, inner: int, keys: int = hidden) -> None:
        for projection, size in (("q", hidden), ("k", keys), ("v", keys)):
            layer(f"{name}.{projection}_proj", inner, size)
        layer(f"{name}.out_proj", hidden, inner)

    def head(name: str, out: int, middle: int = hidden) -> None:
        for number, (rows, columns) in enumerate(((middle, hidden), (middle, middle), (out, middle))):
            layer(f"{name}.layers.{number}", rows, columns)

    before, block = wide, 0
    for stage, blocks in enumerate((1, 2, 7, 2)):
        width = wide * 2**stage
        for _ in range(blocks):
            name = f"image_encoder.trunk.blocks.{block}"
            norm(f"{name}.norm1", before)
            layer(f"{name}.attn.qkv", 3 * width, before)
            layer(f"{name}.attn.proj", width, width)
            norm(f"{name}.norm2", width)
            layer(f"{name}.mlp.layers.0", 4 * width, width)
            layer(f"{name}.mlp.layers.1", width, 4 * width)
            if before != width:
                layer(f"{name}.proj", width, before)
            before, block = width, block + 1
        layer(f"image_encoder.neck.convs.{3 - stage}.conv", hidden, width, 1, 1)
    for number in range(4):
        name = f"memory_attention.layers.{number}"
        attention(f"{name}.self_attn", hidden)
        attention(f"{name}.cross_attn_image", hidden, memory)
        layer(f"{name}.linear1", deep, hidden)
        layer(f"{name}.linear2", hidden, deep)
        for which in (1, 2, 3):
            norm(f"{name}.norm{which}", hidden)
    norm("memory_attention.norm", hidden)
    channels = (1, 4, 16, 64, 256)
    for number in range(4):
        name = "memory_encoder.mask_downsampler.encoder"
        layer(f"{name}.{3 * number}", channels[number + 1], channels[number], 3, 3)
        norm(f"{name}.{3 * number + 1}", channels[number + 1])
    layer("memory_encoder.mask_downsampler.encoder.12", hidden, channels[-1], 1, 1)
    layer("memory_encoder.pix_feat_proj", hidden, hidden, 1, 1)
    layer("memory_encoder.out_proj", memory, hidden, 1, 1)
    for number in range(2):
        name = f"memory_encoder.fuser.layers.{number}"
        shapes[f"{name}.gamma"] = (hidden,)
        layer(f"{name}.dwconv", hidden, 1, 7, 7)
        norm(f"{name}.norm", hidden)
        layer(f"{name}.pwconv1", 4 * hidden, hidden)
        layer(f"{name}.pwconv2", hidden, 4 * hidden)
    name = "sam_prompt_encoder.mask_downscaling"
    layer(f"{name}.0", 4, 1, 2, 2)
    norm(f"{name}.1", 4)
    layer(f"{name}.3", 16, 4, 2, 2)
    norm(f"{name}.4", 16)
    layer(f"{name}.6", hidden, 16, 1, 1)
    decoder = "sam_mask_decoder"
    for number in range(2):
        name = f"{decoder}.transformer.layers.{number}"
        attention(f"{name}.self_attn", hidden)
        attention(f"{name}.cross_attn_token_to_image", hidden // 2)
        attention(f"{name}.cross_attn_image_to_token", hidden // 2)
        layer(f"{name}.mlp.layers.0", deep, hidden)
        layer(f"{name}.mlp.layers.1", hidden, deep)
        for which in (1, 2, 3, 4):
            norm(f"{name}.norm{which}", hidden)
    attention(f"{decoder}.transformer.final_attn_token_to_image", hidden // 2)
    norm(f"{decoder}.transformer.norm_final_attn", hidden)
    # Transposed convolutions: the first number is that of input channels.
    for number, rows, columns in ((0, hidden, quarter), (3, quarter, eighth)):
        shapes[f"{decoder}.output_upscaling.{number}.weight"] = (rows, columns, 2, 2)
        shapes[f"{decoder}.output_upscaling.{number}.bias"] = (columns,)
    norm(f"{decoder}.output_upscaling.1", quarter)
    layer(f"{decoder}.conv_s0", eighth, hidden, 1, 1)
    layer(f"{decoder}.conv_s1", quarter, hidden, 1, 1)
    for number in range(4):
        head(f"{decoder}.output_hypernetworks_mlps.{number}", eighth)
    head(f"{decoder}.iou_prediction_head", 4)
    head(f"{decoder}.pred_obj_score_head", 1)
    head("obj_ptr_proj", hidden)
    layer("obj_ptr_tpos_proj", memory, hidden)
    state = random_tensors(shapes, seed)
    state[f"{decoder}.pred_obj_score_head.layers.2.bias"] += 10
    return state


WORDS = ("liver", "spleen", "left", "kidney", "##s", "tumour")


def vocabulary() -> list[str]:
    """Words with the special tokens where BERT's uncased vocabulary has them, on which the model relies."""
    words = [f"[unused{number}]" for number in range(1030)]
    words[0], words[100], words[101], words[102], words[103] = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
    words[1012], words[1029] = ".", "?"
    return [*words, *WORDS]


def random_grounding_dino(folder: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a small Grounding DINO, in the layout that its publishers' file has; `folder` is written to."""
    from safetensors.torch import load_file
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], window_size=4, out_indices=[2, 3, 4]
        ),
        text_config=BertConfig(
            vocab_size=len(vocabulary()),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=32,
            max_position_embeddings=32,
        ),
        num_queries=50,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        d_model=64,
    )
    with Seeded(seed):
        model = GroundingDinoForObjectDetection(config)
        randomise(model, 0.05)
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def nninteractive_plans() -> dict[str, Any]:
    """Plans in the layout of nnInteractive's, of which one configuration inherits from another."""
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [4, 4, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * 3,
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
            "n_blocks_per_stage": [1, 1, 1],
            "n_conv_per_stage_decoder": [1, 1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configurations = {
        "3d_fullres": {"patch_size": [64, 64, 64], "batch_size": 2, "architecture": architecture},
        "3d_fullres_ps192_bs24": {"inherits_from": "3d_fullres", "patch_size": [24, 24, 24], "batch_size": 24},
    }
    # One that inherits is completed by nnU-Net; here both are written out, so that tests can change the architecture.
    configurations["3d_fullres_ps192_bs24"]["architecture"] = architecture
    return {"dataset_name": "Dataset225_nnInteractiveV2", "plans_name": "plans", "configurations": configurations}


def random_nninteractive(seed: int = 0) -> dict[str, Any]:
    """A checkpoint as nnU-Net writes it, for `nninteractive_plans`: tensors with several names, notes of training."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    settings = nninteractive_plans()["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    settings |= {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU}
    with Seeded(seed):
        network = ResidualEncoderUNet(input_channels=8, num_classes=2, deep_supervision=False, **settings)
        randomise(network)
    return {
        "network_weights": network.state_dict(),
        "grad_scaler_state": None,
        "logging": {"train_losses": [np.float64(-0.5), np.float32(-0.6)]},
        "_best_ema": np.float64(0.7),
        "current_epoch": 1000,
        "init_args": {"configuration": "3d_fullres_ps192_bs24", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnInteractiveTrainer_stub",
        "inference_allowed_mirroring_axes": None,
    }
