"""UniverSeg and MultiverSeg as their papers define them, block by block and without any shortcut."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 4


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _leaky(tensor: Tensor) -> Tensor:
    return functional.leaky_relu(tensor, 0.01)


def plain(
    state: Mapping[str, Tensor], target: Tensor, supports: Tensor, between: Callable[[Tensor], Tensor] = _same
) -> Tensor:
    """Logits `[h, w]` of a target `[c, h, w]` and supports `[n, 2, h, w]`.

    Each support is convolved with the target, goes through `between`, and the mean over supports is the new target.
    Where the state has norms, they follow the second convolutions.
    """

    def convolved(tensor: Tensor, name: str) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.conv2d(tensor, weight, bias, padding=weight.shape[-1] // 2)

    def second(tensor: Tensor, name: str) -> Tensor:
        result = _leaky(convolved(tensor, f"{name}.conv"))
        if f"{name}.norml.weight" in state:
            result = functional.group_norm(result, 1, state[f"{name}.norml.weight"], state[f"{name}.norml.bias"])
        return result

    def block(target: Tensor, supports: Tensor, name: str) -> tuple[Tensor, Tensor]:
        pairs = torch.cat([target.expand(len(supports), -1, -1, -1), supports], dim=1)
        crossed = between(convolved(pairs, f"{name}.cross.cross_conv"))
        mean = crossed.mean(dim=0, keepdim=True)
        return second(mean, f"{name}.target.vmapped"), second(crossed, f"{name}.support.vmapped")

    def enlarged(tensor: Tensor) -> Tensor:
        return functional.interpolate(tensor, scale_factor=2, mode="bilinear", align_corners=True)

    both = (target[None], supports)
    passed = []
    for level in range(LEVELS):
        both = block(*both, f"enc_blocks.{level}")
        if level < LEVELS - 1:
            passed.append(both)
            both = (functional.max_pool2d(both[0], 2), functional.max_pool2d(both[1], 2))
    for level in range(LEVELS - 1):
        skips = passed.pop()
        joined = [torch.cat([enlarged(one), skip], dim=1) for one, skip in zip(both, skips, strict=True)]
        both = block(joined[0], joined[1], f"dec_blocks.{level}")
    return convolved(both[0], "out_conv.conv")[0, 0]


def plain_universeg(state: Mapping[str, Tensor], image: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Logits `[h, w]` of an image `[h, w]`, shown images and labels `[n, h, w]`."""
    return plain(state, image[None], torch.stack([images, labels], dim=1))


def plain_multiverseg(state: Mapping[str, Tensor], target: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Logits `[h, w]` of a target with prompts `[5, h, w]`, shown images and labels `[n, h, w]`."""
    return plain(state, target, torch.stack([images, labels], dim=1), between=_leaky)
