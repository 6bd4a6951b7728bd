"""UniverSeg and MultiverSeg as their papers define them, block by block, without any optimisation."""

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


def forward(
    state: Mapping[str, Tensor], target: Tensor, supports: Tensor, activation: Callable[[Tensor], Tensor] = _same
) -> Tensor:
    """Logits `[h, w]` of a target `[c, h, w]` and supports `[n, 2, h, w]`.

    Each support is convolved with the target and passed through `activation`; their mean is the new target.
    Layer norms, if the state has any, follow the second convolutions.
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
        crossed = activation(convolved(pairs, f"{name}.cross.cross_conv"))
        mean = crossed.mean(dim=0, keepdim=True)
        return second(mean, f"{name}.target.vmapped"), second(crossed, f"{name}.support.vmapped")

    def enlarged(tensor: Tensor) -> Tensor:
        return functional.interpolate(tensor, scale_factor=2, mode="bilinear", align_corners=True)

    pair = (target[None], supports)
    skip_connections = []
    for level in range(LEVELS):
        pair = block(*pair, f"enc_blocks.{level}")
        if level < LEVELS - 1:
            skip_connections.append(pair)
            pair = (functional.max_pool2d(pair[0], 2), functional.max_pool2d(pair[1], 2))
    for level in range(LEVELS - 1):
        skips = skip_connections.pop()
        joined = [torch.cat([enlarged(one), skip], dim=1) for one, skip in zip(pair, skips, strict=True)]
        pair = block(joined[0], joined[1], f"dec_blocks.{level}")
    return convolved(pair[0], "out_conv.conv")[0, 0]


def plain_universeg(state: Mapping[str, Tensor], image: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Logits `[h, w]` of an image `[h, w]`, support images and labels `[n, h, w]`."""
    return forward(state, image[None], torch.stack([images, labels], dim=1))


def plain_multiverseg(state: Mapping[str, Tensor], target: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Logits `[h, w]` of a target with prompts `[5, h, w]`, support images and labels `[n, h, w]`."""
    return forward(state, target, torch.stack([images, labels], dim=1), activation=_leaky)
