"""UniverSeg's network, with exact algebraic savings.

Butoi et al., "UniverSeg: Universal Medical Image Segmentation" (ICCV 2023). Each block convolves every support
jointly with the target; there is no nonlinearity before the mean over supports and the next convolution. With the
kernel split by input channel into Wt (target) and Ws (support), and with V and W2 the kernels of the second
convolutions of target and support:

    target'    = act(V * (Wt*t + b + mean(Ws*s_i)) + c)
    support_i' = act(W2*(Wt*t + b) + c2 + W2*(Ws*s_i))

so only the last term is computed per support. In the first block it does not depend on the target, and the terms that
do are two convolutions of one channel, merged into one of 5 x 5 except at the outermost pixels, where the zero
padding between them matters. The support output of the last block is not needed. Supports are processed in chunks
that fit in the CPU's cache.

Feature maps are contiguous `[n, h, w, channels]`, the fastest layout for convolutions on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .feature_maps import UpsamplingConvolution, act, conv, pool, pool_into

FEATURES = 64
LEVELS = 4
# Side of the square images the network was trained on.
SIDE = 128
# Values of one chunk's intermediate result.
CHUNK_VALUES = 1 << 20


def state_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official state dict."""
    inputs = {f"enc_blocks.{level}": 3 if level == 0 else 2 * FEATURES for level in range(LEVELS)}
    inputs |= {f"dec_blocks.{level}": 4 * FEATURES for level in range(LEVELS - 1)}
    shapes: dict[str, tuple[int, ...]] = {}
    for block, count in inputs.items():
        convolutions = {"cross.cross_conv": count, "target.vmapped.conv": FEATURES, "support.vmapped.conv": FEATURES}
        for name, channels in convolutions.items():
            shapes[f"{block}.{name}.weight"] = (FEATURES, channels, 3, 3)
            shapes[f"{block}.{name}.bias"] = (FEATURES,)
    return shapes | {"out_conv.conv.weight": (1, FEATURES, 1, 1), "out_conv.conv.bias": (1,)}


@dataclass(frozen=True)
class SupportSet:
    """Part of the first block's output that does not depend on the target.

    Attributes
    ----------
    first : Tensor, shape [n, h, w, 64]
        `W2*(Ws*s_i + b) + c2`.
    mean : Tensor, shape [1, h, w, 64]
        `V*(mean(Ws*s_i) + b) + c`.
    """

    first: Tensor
    mean: Tensor


class _Block:
    """One cross block: the kernels of the second convolutions, and the bias of the first."""

    def __init__(self, state: Mapping[str, Tensor], name: str) -> None:
        self.bias = state[f"{name}.cross.cross_conv.bias"]
        self.target = state[f"{name}.target.vmapped.conv.weight"]
        self.target_bias = state[f"{name}.target.vmapped.conv.bias"]
        self.support = state[f"{name}.support.vmapped.conv.weight"]
        self.support_bias = state[f"{name}.support.vmapped.conv.bias"]

    def for_target(self, crossed: Tensor) -> Tensor:
        """The target's output, from the mean over supports of the cross convolution."""
        return act(conv(crossed, self.target, self.target_bias))


class _Encoding(_Block):
    """A block of the encoder: the kernel of the cross convolution, split by input channel."""

    def __init__(self, state: Mapping[str, Tensor], name: str, channels: int) -> None:
        super().__init__(state, name)
        weight = state[f"{name}.cross.cross_conv.weight"]
        self.of_target, self.of_support = weight[:, :channels].contiguous(), weight[:, channels:].contiguous()


class _Decoding(_Block):
    """A block of the decoder, whose inputs are the upsampled deeper level and a skip connection."""

    def __init__(self, state: Mapping[str, Tensor], name: str) -> None:
        super().__init__(state, name)
        weight = state[f"{name}.cross.cross_conv.weight"]
        deep_target, target, deep_support, support = weight.split(FEATURES, dim=1)
        self._target = UpsamplingConvolution(deep_target), target.contiguous()
        self._support = UpsamplingConvolution(deep_support), support.contiguous()

    def cross_target(self, deep: Tensor, skip: Tensor) -> Tensor:
        """The target's part of the cross convolution."""
        enlarged, kernel = self._target
        return conv(skip, kernel, self.bias).add_(enlarged(deep))

    def cross_support(self, deep: Tensor, skip: Tensor) -> Tensor:
        """The supports' part of the cross convolution."""
        enlarged, kernel = self._support
        return conv(skip, kernel).add_(enlarged(deep))


class UniverSegNet:
    """The network on a device, in 32 bits.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights as listed by `state_shapes`.
    device : torch.device
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self.device = device
        state = {name: value.to(device, torch.float32) for name, value in state.items()}
        self._encoder = [_Encoding(state, f"enc_blocks.{level}", FEATURES if level else 1) for level in range(LEVELS)]
        self._decoder = [_Decoding(state, f"dec_blocks.{level}") for level in range(LEVELS - 1)]
        first = self._encoder[0]
        self._opening = _TwoConvolutions(first.of_target, torch.cat([first.target, first.support]))
        self._out = state["out_conv.conv.weight"], state["out_conv.conv.bias"]

    @torch.inference_mode()
    def encode_support(self, images: Tensor, labels: Tensor) -> SupportSet:
        """Encode supports.

        Parameters
        ----------
        images, labels : float32 Tensor, shape [n, h, w]
            0..1; h and w are multiples of 8, 128 as the network was trained.
        """
        block = self._encoder[0]
        supports = torch.stack([images, labels], dim=-1).to(self.device)
        first = supports.new_empty(*supports.shape[:-1], FEATURES)
        total = torch.zeros_like(first[:1])
        for chunk in _chunks(first):
            crossed = conv(supports[chunk], block.of_support, block.bias)
            total.add_(crossed.sum(dim=0))
            first[chunk] = conv(crossed, block.support, block.support_bias)
        return SupportSet(first, conv(total.div_(len(supports)), block.target, block.target_bias))

    @torch.inference_mode()
    def logits(self, image: Tensor, supports: SupportSet) -> Tensor:
        """Logits `[h, w]` of one target image `[h, w]`, 0..1."""
        target, support, mean_skip = self._first(image.to(self.device)[None, :, :, None], supports)
        passed = [target]
        stored = []
        for block in self._encoder[1:]:
            of_target = conv(pool(target), block.of_target, block.bias)
            pooled = None if block is self._encoder[-1] else _empty_pooled(support)
            target = self._cross(block, of_target, support, partial(_convolved, support, block.of_support), pooled)
            passed.append(target)
            stored.append(support)
            support = support if pooled is None else pooled
        deep, support = passed.pop(), stored.pop()
        for decoding in self._decoder[:-1]:
            deeper, support = support, stored.pop()
            of_target = decoding.cross_target(deep, passed.pop())
            deep = self._cross(decoding, of_target, support, partial(_joined, decoding, deeper, support))
        last = self._decoder[-1]
        of_target = last.cross_target(deep, passed.pop())
        of_target += last.cross_support(support.mean(dim=0, keepdim=True), mean_skip)
        return conv(last.for_target(of_target), *self._out)[0, :, :, 0]

    def _first(self, image: Tensor, supports: SupportSet) -> tuple[Tensor, Tensor, Tensor]:
        """The first block: target, pooled supports, and the mean of the supports before pooling."""
        target, query = self._opening(image).split(FEATURES, dim=-1)
        query = query.contiguous()
        pooled = _empty_pooled(supports.first)
        total, crossed = torch.zeros_like(query[0]), torch.empty_like(query[0])
        for support, pooled_support in zip(supports.first, pooled, strict=True):
            torch.add(support, query[0], out=crossed)
            pool_into(crossed, pooled_support)
            act(pooled_support)
            total.add_(act(crossed))
        return act(target + supports.mean), pooled, total.div_(len(pooled))[None]

    def _cross(
        self,
        block: _Block,
        crossed_target: Tensor,
        support: Tensor,
        crossed: Callable[[slice], Tensor],
        pooled: Tensor | None = None,
    ) -> Tensor:
        """One block: overwrites the supports and returns the target.

        Parameters
        ----------
        crossed_target : Tensor, shape [1, h, w, 64]
            The target's part of the cross convolution; it is overwritten.
        support : Tensor, shape [n, h, w, 64]
        crossed : function
            Computes the supports' part of the cross convolution for a range of supports.
        pooled : Tensor, optional
            Output for the supports after pooling.
        """
        query = conv(crossed_target, block.support, block.support_bias)
        total = torch.zeros_like(crossed_target)
        for chunk in _chunks(support):
            crossed_supports = crossed(chunk)
            total.add_(crossed_supports.sum(dim=0))
            torch.add(conv(crossed_supports, block.support), query, out=support[chunk])
            act(support[chunk])
            if pooled is not None:
                pool_into(support[chunk], pooled[chunk])
        return block.for_target(crossed_target.add_(total.div_(len(support))))


class _TwoConvolutions:
    """Two successive 3 x 3 convolutions with zero padding and without bias, merged into one of 5 x 5.

    The merged kernel ignores that the second convolution is padded with zeros, so the outermost pixels are computed
    separately.
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self._first, self._second = first, second
        inner, outer = first.cpu().double(), second.cpu().double()
        merged = inner.new_zeros(len(outer), inner.shape[1], 5, 5)
        for row in range(3):
            for column in range(3):
                kernel = torch.einsum("om,mihw->oihw", outer[:, :, row, column], inner)
                merged[:, :, row : row + 3, column : column + 3] += kernel
        self._merged = merged.to(first.device, first.dtype)

    def __call__(self, inputs: Tensor) -> Tensor:
        result = conv(inputs, self._merged)
        result[:, :1] = self._exact(inputs[:, :3], slice(2), slice(None))[:, :1]
        result[:, -1:] = self._exact(inputs[:, -3:], slice(-2, None), slice(None))[:, -1:]
        result[:, :, :1] = self._exact(inputs[:, :, :3], slice(None), slice(2))[:, :, :1]
        result[:, :, -1:] = self._exact(inputs[:, :, -3:], slice(None), slice(-2, None))[:, :, -1:]
        return result

    def _exact(self, inputs: Tensor, rows: slice, columns: slice) -> Tensor:
        """Both convolutions in sequence, the second on these rows and columns."""
        return conv(conv(inputs, self._first)[:, rows, columns], self._second)


def _convolved(supports: Tensor, kernel: Tensor, chunk: slice) -> Tensor:
    return conv(supports[chunk], kernel)


def _joined(block: _Decoding, deep: Tensor, skip: Tensor, chunk: slice) -> Tensor:
    return block.cross_support(deep[chunk], skip[chunk])


def _chunks(supports: Tensor) -> Iterator[slice]:
    """Ranges of supports that are processed together."""
    step = max(1, CHUNK_VALUES // supports[0].numel())
    for start in range(0, len(supports), step):
        yield slice(start, start + step)


def _empty_pooled(supports: Tensor) -> Tensor:
    """Uninitialised tensor for the supports after pooling."""
    count, height, width, channels = supports.shape
    return supports.new_empty(count, height // 2, width // 2, channels)
