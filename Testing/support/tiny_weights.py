"""Small random weights in the key layout of official checkpoints, in a table and a folder of their own.

Stand-ins: they exercise the real loading code and forward passes; what comes out of them is noise.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import FewShotAnnotateLib
import pytest
import torch
from FewShotAnnotateLib.engines import weights

import support.torchvision_standin  # noqa: F401 (must come before what imports torchvision)

TABLE_VARIABLE = "FEWSHOT_TEST_WEIGHTS_TABLE"
GRID = 8
PATCH = 16


def random_sam(side: int = GRID * PATCH, seed: int = 0) -> torch.nn.Module:
    """The package's own model, as small as it gets, with random weights."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    grid, channels = side // PATCH, 32
    with seeded(seed):
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


class seeded:
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


class Shelf:
    """A folder of weights with its own table; `weights` knows no other while it is in use.

    Parameters
    ----------
    folder : Path
    patch : pytest.MonkeyPatch
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = folder / "home"
        self._table = folder / "table.json"
        self._rows = json.loads(weights.TABLE.read_text(encoding="utf-8"))
        self._write()
        patch.setattr(weights, "TABLE", self._table)
        patch.setenv(weights.HOME_VARIABLE, str(self.home))
        patch.setenv(TABLE_VARIABLE, str(self._table))
        weights.checkpoints.cache_clear()

    def put(self, name: str, state: Mapping[str, torch.Tensor]) -> Path:
        """Lay a checkpoint of the table down, with these tensors in it."""
        (row,) = [row for row in self._rows["checkpoints"] if row["name"] == name]
        path = self.home / "weights" / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
        else:
            torch.save({row["state_key"]: dict(state)} if row.get("state_key") else dict(state), path)
        self._enter(row, path)
        return path

    def put_file(self, name: str, content: bytes) -> Path:
        """Lay a file of the table down that is no state dict."""
        (row,) = [row for row in self._rows["checkpoints"] if row["name"] == name]
        path = self.home / "weights" / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._enter(row, path)
        return path

    def _enter(self, row: dict[str, object], path: Path) -> None:
        row.update(size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), md5=None)
        self._write()
        weights.checkpoints.cache_clear()

    def _write(self) -> None:
        self._table.write_text(json.dumps(self._rows), encoding="utf-8")


def use_table_of_environment() -> None:
    """In a process of its own: know the table that a `Shelf` made."""
    weights.TABLE = Path(os.environ[TABLE_VARIABLE])
    weights.checkpoints.cache_clear()


def python_with_shelf(folder: Path) -> str:
    """A program that runs a Python script as Python does, with the table of the shelf in use."""
    places = [str(Path(FewShotAnnotateLib.__file__).parents[1]), str(Path(__file__).parents[1])]
    program = folder / "python-with-shelf"
    program.write_text(
        f"#!{sys.executable}\n"
        "import runpy, sys\n"
        f"sys.path[:0] = {places!r}\n"
        "from support.tiny_weights import use_table_of_environment\n"
        "use_table_of_environment()\n"
        "del sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return str(program)


def random_seggpt(types: bool = True, side: int = 64, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights in the layout of the authors' SegGPT file; without tokens of types, in that of Painter's."""
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
    if types:
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
