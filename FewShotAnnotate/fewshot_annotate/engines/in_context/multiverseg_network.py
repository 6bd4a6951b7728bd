"""MultiverSeg's network.

Wong et al., "MultiverSeg: Scalable Interactive Segmentation of Biomedical Imaging Datasets with In-Context Guidance"
(ICCV 2025). It differs from UniverSeg's in a LeakyReLU before the mean over supports and a norm after each second
convolution. Exact savings: the target's part of a cross convolution is computed once for all supports, the support
output of the last block is not computed, and supports are processed one by one.

Feature maps are `[n, h, w, channels]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from .feature_maps import act, conv, join, pool, upsample

FEATURES = 256
LEVELS = 4
# Channels of the target: image, box, positive clicks, negative clicks, logits of a previous prediction.
TARGET_CHANNELS = 5
# Channels of a support: image, label.
SUPPORT_CHANNELS = 2


def state_shapes(features: int = FEATURES) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official state dict."""
    inputs = {f"enc_blocks.{level}": 2 * features for level in range(LEVELS)}
    inputs |= {"enc_blocks.0": TARGET_CHANNELS + SUPPORT_CHANNELS}
    inputs |= {f"dec_blocks.{level}": 4 * features for level in range(LEVELS - 1)}
    shapes: dict[str, tuple[int, ...]] = {}
    for block, count in inputs.items():
        shapes[f"{block}.cross.cross_conv.weight"] = (features, count, 3, 3)
        shapes[f"{block}.cross.cross_conv.bias"] = (features,)
        for name in ("target.vmapped", "support.vmapped"):
            shapes[f"{block}.{name}.conv.weight"] = (features, features, 3, 3)
            for vector in ("conv.bias", "norml.weight", "norml.bias"):
                shapes[f"{block}.{name}.{vector}"] = (features,)
    return shapes | {"out_conv.conv.weight": (1, features, 1, 1), "out_conv.conv.bias": (1,)}


class _Block:
    """One cross block."""

    def __init__(self, state: Mapping[str, Tensor], name: str, channels: int) -> None:
        weight = state[f"{name}.cross.cross_conv.weight"]
        self._of_target = weight[:, :channels].contiguous()
        self._of_support = weight[:, channels:].contiguous()
        self._bias = state[f"{name}.cross.cross_conv.bias"]
        self._second = {
            side: tuple(
                state[f"{name}.{side}.vmapped.{parameter}"]
                for parameter in ("conv.weight", "conv.bias", "norml.weight", "norml.bias")
            )
            for side in ("target", "support")
        }

    def __call__(
        self, target: Tensor, supports: Iterable[Tensor], support_outputs: list[Tensor] | None = None
    ) -> Tensor:
        """Output for the target; the outputs for the supports are appended to `support_outputs`."""
        of_target = conv(target, self._of_target, self._bias)
        total, count = torch.zeros_like(of_target), 0
        for support in supports:
            crossed = act(conv(support, self._of_support).add_(of_target))
            total.add_(crossed)
            count += 1
            if support_outputs is not None:
                support_outputs.append(self._convolved(crossed, "support"))
        return self._convolved(total.div_(count), "target")

    def _convolved(self, crossed: Tensor, side: str) -> Tensor:
        kernel, bias, scale, shift = self._second[side]
        features = act(conv(crossed, kernel, bias)).permute(0, 3, 1, 2)
        return functional.group_norm(features, 1, scale, shift).permute(0, 2, 3, 1).contiguous()


class MultiverSegNet:
    """The network on a device, without clicks or boxes.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights as listed by `state_shapes`.
    device : torch.device
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self.device = device
        state = {name: value.to(device, torch.float32) for name, value in state.items()}
        features = len(state["dec_blocks.0.cross.cross_conv.bias"])
        self._encoder = [
            _Block(state, f"enc_blocks.{level}", features if level else TARGET_CHANNELS) for level in range(LEVELS)
        ]
        self._decoder = [_Block(state, f"dec_blocks.{level}", 2 * features) for level in range(LEVELS - 1)]
        self._out = state["out_conv.conv.weight"], state["out_conv.conv.bias"]

    def encode_support(self, images: Tensor, labels: Tensor) -> Tensor:
        """Supports `[n, h, w, 2]` from images and labels `[n, h, w]`, 0..1."""
        return torch.stack([images, labels], dim=-1).to(self.device)

    @torch.inference_mode()
    def logits(self, image: Tensor, supports: Tensor) -> Tensor:
        """Logits `[h, w]` of one target image `[h, w]`, 0..1."""
        return self.logits_with_prompts(functional.pad(image[..., None], (0, TARGET_CHANNELS - 1)), supports)

    @torch.inference_mode()
    def logits_with_prompts(self, target: Tensor, supports: Tensor) -> Tensor:
        """Logits `[h, w]` of a target `[h, w, 5]` that includes prompts."""
        target = target.to(self.device)[None]
        support = list(supports.split(1))
        skips = []
        for block in self._encoder[:-1]:
            support_outputs: list[Tensor] = []
            target = block(target, support, support_outputs)
            skips.append((target, support_outputs))
            target, support = pool(target), [pool(output) for output in support_outputs]
        deep: list[Tensor] = []
        target = self._encoder[-1](target, support, deep)
        for block in self._decoder[:-1]:
            skip, support_outputs = skips.pop(), []
            target = block(join(upsample(target), skip[0]), _joined(deep, skip[1]), support_outputs)
            deep = support_outputs
        target_skip, support_skip = skips.pop()
        target = self._decoder[-1](join(upsample(target), target_skip), _joined(deep, support_skip))
        return conv(target, *self._out)[0, :, :, 0]


def _joined(deep: list[Tensor], skip: list[Tensor]) -> Iterator[Tensor]:
    """Yield the upsampled supports of the deeper level concatenated with the skip connections, one at a time."""
    for target, connection in zip(deep, skip, strict=True):
        yield join(upsample(target), connection)
