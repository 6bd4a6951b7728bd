"""Official repositories imported from a checkout, without the training packages that their files name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn


@contextmanager
def modules(contents: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Provide modules of these dotted names with these attributes during the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, content in contents.items():
            parts = name.split(".")
            for count in range(1, len(parts) + 1):
                whole = ".".join(parts[:count])
                if whole not in sys.modules:
                    module = ModuleType(whole)
                    module.__spec__ = ModuleSpec(whole, None)
                    patch.setitem(sys.modules, whole, module)
                if count > 1:
                    above = sys.modules[".".join(parts[: count - 1])]
                    patch.setattr(above, parts[count - 1], sys.modules[whole], raising=False)
            for key, value in content.items():
                patch.setattr(sys.modules[name], key, value, raising=False)
        yield


def from_checkout(folder: Path, name: str, also_unload: tuple[str, ...] = ()) -> Any:
    """Import a module of a checkout; it and the packages `also_unload` can be imported from elsewhere afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        try:
            return importlib.import_module(name)
        finally:
            for loaded in [
                loaded for loaded in list(sys.modules) if loaded.split(".")[0] in (name.split(".")[0], *also_unload)
            ]:
                del sys.modules[loaded]


class _Mlp(nn.Module):
    """As in timm: two layers with GELU between."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.fc2(self.act(self.fc1(x)))
        return result


class _Unused(nn.Module):
    """Stand-in for layers that are used by training alone or by models that were not released."""


def painter(checkout: Path, file: str, folder: str) -> Any:
    """A model file of baaivision/Painter."""
    layers = {"DropPath": lambda rate: nn.Identity(), "trunc_normal_": nn.init.trunc_normal_}
    attributes: dict[str, dict[str, Any]] = {
        "fvcore.nn.weight_init": {},
        "detectron2.layers": {"CNNBlockBase": _Unused, "Conv2d": _Unused, "get_norm": None},
        "fairscale.nn.checkpoint": {"checkpoint_wrapper": None},
        "timm.models.layers": layers,
        "timm.models.vision_transformer": {"Mlp": _Mlp},
    }
    with modules(attributes):
        return from_checkout(checkout / folder, file, ("util",))


def painted(
    kind: Any,
    state: Mapping[str, Tensor],
    prompts: Sequence[tuple[np.ndarray, np.ndarray]],
    image: np.ndarray,
    *more: Any,
) -> Tensor:
    """What a small Painter or SegGPT of the authors' code paints on an image, in their normalised colours.

    Parameters
    ----------
    kind : type
        Of the network.
    state : mapping of str to Tensor
    prompts : sequence of (image, painting), each float ndarray [side, side, 3]
    image : float ndarray [side, side, 3]
    more
        What the network takes beside images, paintings and masks.

    Returns
    -------
    float Tensor, shape [side, side, 3]
    """
    side = len(image)
    net = kind(
        img_size=(2 * side, side),
        pretrain_img_size=48,
        embed_dim=32,
        num_heads=2,
        decoder_embed_dim=8,
        window_size=14,
        window_block_indexes=([0, 1], [3, 4]),  # nested as in the released model, so no block has windows
        use_rel_pos=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    ).eval()
    net.load_state_dict(state)
    above = np.stack([np.concatenate([prompt, image]) for prompt, _ in prompts])
    paintings = np.stack([np.concatenate([painting, painting]) for _, painting in prompts])
    x, y = (torch.tensor(one).permute(0, 3, 1, 2).float() for one in (above, paintings))
    masked = torch.zeros(1, net.patch_embed.num_patches)
    masked[:, net.patch_embed.num_patches // 2 :] = 1
    with torch.no_grad():
        patches = net(x, y, masked, torch.ones_like(y), *more)[1]
    result: Tensor = net.unpatchify(patches)[0, :, side:].permute(1, 2, 0)
    return result


def persam(checkout: Path, file: str) -> Any:
    """A script of ZrrSkywalker/Personalize-SAM: its caller gives it a `cv2` to read and write images with."""
    layers = {"DropPath": _Unused, "to_2tuple": None, "trunc_normal_": nn.init.trunc_normal_}
    attributes: dict[str, dict[str, Any]] = {
        "cv2": {},
        "tqdm": {"tqdm": iter},
        "timm.models.layers": layers,
        "timm.models.registry": {"register_model": lambda function: function},
    }
    with modules(attributes):
        return from_checkout(checkout, file, ("show", "per_segment_anything"))


def medsam2(checkout: Path, side: int) -> Any:
    """The video predictor of bowang-lab/MedSAM2, which is SAM 2.1's, built from its configuration for a size."""
    import yaml

    started = type("GlobalHydra", (), {"instance": staticmethod(lambda: _Started())})
    attributes: dict[str, dict[str, Any]] = {
        "hydra": {"initialize_config_module": None, "compose": None},
        "hydra.core.global_hydra": {"GlobalHydra": started},
        "hydra.utils": {"instantiate": None},
        "omegaconf": {"OmegaConf": None},
        "iopath.common.file_io": {"g_pathmgr": None},
    }
    path = checkout / "sam2" / "configs" / "sam2.1_hiera_t512.yaml"
    configuration = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    configuration["_target_"] = "sam2.sam2_video_predictor_npz.SAM2VideoPredictorNPZ"
    configuration["image_size"] = side
    configuration.pop("compile_image_encoder")
    layer = configuration["memory_attention"]["layer"]
    for attention in (layer["self_attention"], layer["cross_attention"]):
        attention["feat_sizes"] = [side // 16, side // 16]

    def make(node: Any) -> Any:
        if isinstance(node, list):
            return [make(one) for one in node]
        if not isinstance(node, dict):
            return 1e-6 if node == "1e-6" else node  # YAML reads it as a string
        values = {key: make(value) for key, value in node.items()}
        if "_target_" not in values:
            return values
        module, name = values.pop("_target_").rsplit(".", 1)
        return getattr(importlib.import_module(module), name)(**values)

    with modules(attributes), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(checkout))
        try:
            return make(configuration).eval()
        finally:
            for loaded in [loaded for loaded in list(sys.modules) if loaded.split(".")[0] == "sam2"]:
                del sys.modules[loaded]


class _Started:
    """Stand-in for Hydra, which the model itself does not use."""

    def is_initialized(self) -> bool:
        return True
