"""UniverSeg's network, computed exactly and faster.

Butoi et al., "UniverSeg: Universal Medical Image Segmentation" (ICCV 2023). Each block convolves every support with
the target, and nothing nonlinear comes between that, the mean over supports and the next convolution. With the kernel
split by input channel into Wt (target) and Ws (support), and V and W2 the kernels of the target's and the support's
second convolution:

    target'    = act(V * (Wt*t + b + mean(Ws*s_i)) + c)
    support_i' = act(W2*(Wt*t + b) + c2 + W2*(Ws*s_i))

so only the last term is computed per support. In the first block it does not depend on the target, and what does
depend on it is two convolutions of one channel, merged into one of 5 x 5 (but for the outermost pixels, where zero
padding between the two shows). The last block's support output is never used. Supports pass in chunks small enough
for the processor's cache.

Feature maps are `[n, h, w, channels]`, contiguous: the layout that convolutions on processors are quickest with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .feature_maps import act, conv, enlarge, join, pool

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
    """Supports as the first block sees them, whatever the target.

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
    """One cross block's kernels, that of the cross convolution split by input channel."""

    def __init__(self, state: Mapping[str, Tensor], name: str, channels: int) -> None:
        weight = state[f"{name}.cross.cross_conv.weight"]
        self.of_target = weight[:, :channels].contiguous()
        self.of_support = weight[:, channels:].contiguous()
        self.bias = state[f"{name}.cross.cross_conv.bias"]
        self.target = state[f"{name}.target.vmapped.conv.weight"]
        self.target_bias = state[f"{name}.target.vmapped.conv.bias"]
        self.support = state[f"{name}.support.vmapped.conv.weight"]
        self.support_bias = state[f"{name}.support.vmapped.conv.bias"]

    def for_target(self, crossed: Tensor) -> Tensor:
        """The target's output, from the mean over supports of the cross convolution."""
        return act(conv(crossed, self.target, self.target_bias))


class UniverSegNet:
    """The network on one device, in 32 bits.

    Parameters
    ----------
    state : mapping of str to Tensor
        As `state_shapes` says.
    device : torch.device
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self.device = device
        state = {name: value.to(device, torch.float32) for name, value in state.items()}
        self._encoder = [_Block(state, f"enc_blocks.{level}", FEATURES if level else 1) for level in range(LEVELS)]
        self._decoder = [_Block(state, f"dec_blocks.{level}", 2 * FEATURES) for level in range(LEVELS - 1)]
        first = self._encoder[0]
        self._opening = _TwoConvolutions(first.of_target, torch.cat([first.target, first.support]))
        self._last_cross = state[f"dec_blocks.{LEVELS - 2}.cross.cross_conv.weight"]
        self._out = state["out_conv.conv.weight"], state["out_conv.conv.bias"]

    @torch.inference_mode()
    def see(self, images: Tensor, labels: Tensor) -> SupportSet:
        """Take in supports.

        Parameters
        ----------
        images, labels : float32 Tensor, shape [n, h, w]
            0..1; h and w are multiples of 8, 128 as the network was trained.
        """
        block = self._encoder[0]
        supports = torch.stack([images, labels], dim=-1).to(self.device)
        first = supports.new_empty(*supports.shape[:-1], FEATURES)
        total = torch.zeros_like(first[:1])
        for part in _chunks(first):
            crossed = conv(supports[part], block.of_support, block.bias)
            _add_all(total, crossed)
            first[part] = conv(crossed, block.support, block.support_bias)
        return SupportSet(first, conv(total.div_(len(supports)), block.target, block.target_bias))

    @torch.inference_mode()
    def logits(self, image: Tensor, supports: SupportSet) -> Tensor:
        """Logits `[h, w]` of one target image `[h, w]`, 0..1."""
        target, support, mean_skip = self._first(image.to(self.device)[None, :, :, None], supports)
        skips, passed = [target], []
        for block in self._encoder[1:-1]:
            target, pooled = self._encode(block, pool(target), support)
            skips.append(target)
            passed.append(support)
            support = pooled
        target = self._cross(self._encoder[-1], pool(target), support, support.__getitem__)
        for block in self._decoder[:-1]:
            deep, support = support, passed.pop()
            target = join(enlarge(target), skips.pop())
            target = self._cross(block, target, support, partial(_joined, deep, support))
        mean = support.mean(dim=0, keepdim=True)
        both = torch.cat([enlarge(target), skips.pop(), enlarge(mean), mean_skip], dim=-1)
        last = self._decoder[-1]
        target = last.for_target(conv(both, self._last_cross, last.bias))
        return conv(target, *self._out)[0, :, :, 0]

    def _first(self, image: Tensor, supports: SupportSet) -> tuple[Tensor, Tensor, Tensor]:
        """The first block: target, pooled supports, and the mean of the supports before pooling."""
        target, query = self._opening(image).split(FEATURES, dim=-1)
        query = query.contiguous()
        pooled = _half(supports.first)
        total, seen = torch.zeros_like(query), torch.empty_like(query)
        for number, one in enumerate(supports.first):
            torch.add(one, query, out=seen)
            pooled[number] = pool(seen)
            total.add_(act(seen))
        return act(target + supports.mean), act(pooled), total.div_(len(pooled))

    def _encode(self, block: _Block, target: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """A block of the encoder: takes the supports' place, and returns the target and the supports pooled."""
        pooled = _half(support)

        def keep(part: slice) -> None:
            pooled[part] = pool(support[part])

        return self._cross(block, target, support, support.__getitem__, keep), pooled

    def _cross(
        self,
        block: _Block,
        target: Tensor,
        support: Tensor,
        look: Callable[[slice], Tensor],
        then: Callable[[slice], None] = lambda part: None,
    ) -> Tensor:
        """A block on supports that `look(part)` gives: writes theirs into `support`, and returns the target.

        `then(part)` is called when a part is written.
        """
        own = conv(target, block.of_target, block.bias)
        query = conv(own, block.support, block.support_bias)
        total = torch.zeros_like(own)
        for part in _chunks(support):
            crossed = conv(look(part), block.of_support)
            _add_all(total, crossed)
            torch.add(conv(crossed, block.support), query, out=support[part])
            act(support[part])
            then(part)
        return block.for_target(own.add_(total.div_(len(support))))


class _TwoConvolutions:
    """Two 3 x 3 convolutions, each with zero padding and without bias, of few channels to many: one of 5 x 5.

    That sees what the first gives outside the image, where the second has zeros: the outermost pixels, which that
    reaches, are computed as they should be.
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self._first, self._second = first, second
        inner, outer = first.cpu().double(), second.cpu().double()
        merged = inner.new_zeros(len(outer), inner.shape[1], 5, 5)
        for row in range(3):
            for column in range(3):
                part = torch.einsum("om,mihw->oihw", outer[:, :, row, column], inner)
                merged[:, :, row : row + 3, column : column + 3] += part
        self._merged = merged.to(first.device, first.dtype)

    def __call__(self, inputs: Tensor) -> Tensor:
        result = conv(inputs, self._merged)
        result[:, :1] = self._exact(inputs[:, :3], slice(2), slice(None))[:, :1]
        result[:, -1:] = self._exact(inputs[:, -3:], slice(-2, None), slice(None))[:, -1:]
        result[:, :, :1] = self._exact(inputs[:, :, :3], slice(None), slice(2))[:, :, :1]
        result[:, :, -1:] = self._exact(inputs[:, :, -3:], slice(None), slice(-2, None))[:, :, -1:]
        return result

    def _exact(self, inputs: Tensor, rows: slice, columns: slice) -> Tensor:
        """Both convolutions in turn, the second on these rows and columns."""
        return conv(conv(inputs, self._first)[:, rows, columns], self._second)


def _joined(deep: Tensor, skip: Tensor, part: slice) -> Tensor:
    """Deeper supports, enlarged, beside those of their level."""
    return join(enlarge(deep[part]), skip[part])


def _chunks(supports: Tensor) -> Iterator[slice]:
    """Parts of the supports that are worked on together."""
    step = max(1, CHUNK_VALUES // supports[0].numel())
    for start in range(0, len(supports), step):
        yield slice(start, start + step)


def _half(supports: Tensor) -> Tensor:
    """Room for the supports after pooling."""
    count, height, width, channels = supports.shape
    return supports.new_empty(count, height // 2, width // 2, channels)


def _add_all(total: Tensor, supports: Tensor) -> None:
    """Add each of the supports to the total."""
    for one in supports:
        total.add_(one)
