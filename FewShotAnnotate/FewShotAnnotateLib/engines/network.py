"""A compact 2.5D U-Net, fitted in place on a few slices of one volume.

It sees five neighbouring slices, the place in the volume, and a blurred idea of where each label lies (the prior); it
learns where exactly the outlines are. Targets are the labelled slices and, as soft targets, what simpler ways to fill
say about slices between them: the network keeps what fits the images everywhere.

Ronneberger et al., "U-Net" (MICCAI 2015); distillation after Hinton et al. (2015); weight averaging after Polyak &
Juditsky (1992).
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .muon import Muon

# Pixels of the longest side of a slice as the network sees it.
LONGEST_SIDE = 192
# Neighbouring slices seen with each slice.
CONTEXT = (-2, -1, 0, 1, 2)
CHANNELS = (32, 64, 64)
# Pixels of a side that are one place to the network: it reads them as channels, and answers for each.
PATCH = 2
# Channels that the prior of all labels is mixed down to.
PRIOR_CHANNELS = 16
# Usual standard deviation in pixels of the prior's blur: it tells the place of a label, not its outline.
PRIOR_BLUR = (3.0, 3.0)
# Least prior probability of a label.
PRIOR_FLOOR = 1e-3
# Least probability of a label by the network: how far it can rule one out.
FLOOR = 1e-3
CROP = 64
BATCH = 8
# Part of each batch that comes from labelled slices.
LABELLED_SHARE = 0.5
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-4
WARM_UP = 0.15
# One network at a time draws its first weights: torch has one source of randomness for all threads.
_WEIGHTS = threading.Lock()
# The averaged weights forget over about this many steps.
AVERAGING = 50


class _Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for count in (inputs, outputs):
            layers += [
                nn.Conv2d(count, outputs, 3, padding=1, bias=False),
                nn.GroupNorm(4, outputs),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*layers)


class _UNet(nn.Module):
    """Prior log-probabilities plus what the images say: logits `[batch, classes, h, w]`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(classes, PRIOR_CHANNELS, 1)
        count = len(CONTEXT) * PATCH**2 + 3 + PRIOR_CHANNELS
        self.down = nn.ModuleList()
        for channels in CHANNELS:
            self.down.append(_Block(count, channels))
            count = channels
        self.up = nn.ModuleList(_Block(low + high, low) for low, high in reversed(list(pairwise(CHANNELS))))
        self.head = nn.Conv2d(CHANNELS[0], classes * PATCH**2, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        height, width = inputs.shape[-2:]
        pad = (0, -width % PATCH, 0, -height % PATCH)
        prior = prior.float()
        images, places = functional.pad(inputs, pad, mode="replicate").split([len(CONTEXT), 3], dim=1)
        known = functional.avg_pool2d(functional.pad(prior, pad, mode="replicate"), PATCH)
        seen = [functional.pixel_unshuffle(images, PATCH), functional.avg_pool2d(places, PATCH), self.mix(known)]
        x = torch.cat(seen, dim=1).contiguous(memory_format=torch.channels_last)
        skips: list[torch.Tensor] = []
        for block in self.down:
            if skips:
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        logits: torch.Tensor = functional.pixel_shuffle(self.head(x), PATCH)[..., :height, :width]
        return logits.float() + torch.log(prior + PRIOR_FLOOR)


class Stack:
    """All slices as the network sees them.

    Parameters
    ----------
    image : function
        Gives slice `index` in the window: float32 `[h, w]`, 0..1.
    count : int
    shape : (h, w)
    device : torch.device
    stretch : (float, float)
        By how much the network sees each side enlarged.
    blur : (float, float)
        Standard deviation of the prior's blur along each side, in pixels of the network; 0: none.
    order : (int, int, int)
        Where a pixel's row, column and slice in the volume are found among the places along the first side of this
        stack's slices (0), the second (1) and their number (2). So networks fitted on different stacks of a volume
        are told places alike.
    """

    def __init__(
        self,
        image: Callable[[int], np.ndarray],
        count: int,
        shape: Sequence[int],
        device: torch.device,
        stretch: Sequence[float] = (1.0, 1.0),
        blur: Sequence[float] = PRIOR_BLUR,
        order: Sequence[int] = (0, 1, 2),
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        sides = [side * factor for side, factor in zip(self.shape, stretch, strict=True)]
        scale = min(1.0, LONGEST_SIDE / max(sides))
        self.size = tuple(max(8, round(side * scale)) for side in sides)
        self.count = count
        self.device = device
        self._kernels = [_gaussian(deviation) for deviation in blur]
        self._order = list(order)
        reach = CONTEXT[-1]
        slices = torch.stack([self.shrink(torch.from_numpy(image(index))[None])[0] for index in range(count)])
        self.slices = torch.cat([slices[:1]] * reach + [slices] + [slices[-1:]] * reach).to(device) * 2 - 1
        rows, columns = (torch.linspace(-1, 1, side) for side in self.size)
        self.places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).to(device)

    def shrink(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps `[c, h, w]` at the network's resolution."""
        if tuple(maps.shape[-2:]) == self.size:
            return maps
        return functional.interpolate(
            maps[None].float(), size=self.size, mode="bilinear", align_corners=False, antialias=True
        )[0]

    def enlarge(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps `[c, h, w]` at the window's resolution."""
        if tuple(maps.shape[-2:]) == self.shape:
            return maps
        return functional.interpolate(maps[None], size=self.shape, mode="bilinear", align_corners=False)[0]

    def target(self, probabilities: np.ndarray) -> torch.Tensor:
        """Probabilities `[classes, h, w]` in the window, shrunk; float16, for there are many."""
        return self.shrink(torch.from_numpy(probabilities)).to(self.device, torch.float16)

    def prior(self, probabilities: np.ndarray) -> torch.Tensor:
        """Probabilities `[classes, h, w]` in the window, shrunk and blurred; float16."""
        down, across = self._kernels
        rows, columns = len(down) // 2, len(across) // 2
        maps = self.shrink(torch.from_numpy(probabilities))[:, None]
        maps = functional.pad(maps, (columns, columns, rows, rows), mode="replicate")
        maps = functional.conv2d(functional.conv2d(maps, down[None, None, :, None]), across[None, None, None, :])
        return maps[:, 0].to(self.device, torch.float16)

    def example(self, index: int, told: np.ndarray, prior: np.ndarray, labelled: bool) -> Example:
        """A slice to learn from; what is told of it and thought before are probabilities `[classes, h, w]`."""
        return Example(index, self.target(told), self.prior(prior), labelled)

    def inputs(self, index: int, rows: slice, columns: slice) -> torch.Tensor:
        """What the network sees of a part of a slice: `[len(CONTEXT) + 3, h, w]`."""
        near = self.slices[index : index + len(CONTEXT), rows, columns]
        sides = self.places[:, rows, columns]
        number = torch.full_like(sides[:1], 2 * index / max(1, self.count - 1) - 1)
        return torch.cat([near, torch.cat([sides, number])[self._order]])


def _gaussian(deviation: float) -> torch.Tensor:
    reach = int(2 * deviation)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(deviation, 1e-6)) ** 2)
    return kernel / kernel.sum()


@dataclass(frozen=True)
class Example:
    """One slice to learn from.

    Attributes
    ----------
    index : int
    target, prior : float16 tensor [classes, h, w] at the network's resolution
    labelled : bool
        A labelled slice, not a soft target.
    """

    index: int
    target: torch.Tensor
    prior: torch.Tensor
    labelled: bool


@dataclass(frozen=True)
class FittedNetwork:
    """What `fit` makes.

    Attributes
    ----------
    stack : Stack
        What it sees.
    module : _UNet
    part : float
        Of the steps it was to be fitted for, those that a time limit left, up to 1.
    seconds : float
        That the fit took.
    """

    stack: Stack
    module: _UNet
    part: float
    seconds: float

    @property
    def say(self) -> float:
        """How much it counts, 0..1: hardly at all after a few steps, when it knows less than its prior."""
        return self.part**2

    def predict(self, index: int, probabilities: np.ndarray) -> np.ndarray:
        """What it says of a slice of its stack.

        Parameters
        ----------
        index : int
        probabilities : float32 ndarray, shape [classes, h, w]
            What is thought so far, in the window.

        Returns
        -------
        float32 ndarray, shape [classes, h, w]
            Logarithms of probabilities in the window.
        """
        whole = slice(None)
        with torch.inference_mode():
            inputs, prior = self.stack.inputs(index, whole, whole), self.stack.prior(probabilities)
            logits = self.module(inputs[None], prior[None])
            told: np.ndarray = self.stack.enlarge(torch.softmax(logits, dim=1)[0]).cpu().numpy()
        return np.log(told + np.float32(FLOOR))


def fit(
    stack: Stack,
    examples: Sequence[Example],
    steps: int,
    seed: int,
    on_step: Callable[[float], object],
    seconds: float | None = None,
    start: FittedNetwork | None = None,
) -> FittedNetwork:
    """Fit a network, on one processor core; several fits may go on in threads.

    Parameters
    ----------
    stack : Stack
    examples : sequence of Example
    steps : int
    seed : int
    on_step : function
        Called after each step with the part of the fit, 0..1, that this step was; what it raises ends the fit.
    seconds : float, optional
        Time limit: the fit is over by then, however few steps were taken.
    start : FittedNetwork, optional
        Of the same classes: fitting goes on from its weights instead of random ones. It is not changed.
    """
    torch.set_num_threads(1)
    batches = _Batches(stack, examples, seed)
    with _WEIGHTS:
        torch.manual_seed(seed)
        network = copy.deepcopy(start.module) if start else _UNet(len(examples[0].target)).to(stack.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = list(network.parameters())
    averages = [weight.detach().clone() for weight in weights]
    blocks = [weight for part in (network.down, network.up) for weight in part.parameters() if weight.ndim == 4]
    inner = {id(weight) for weight in blocks}
    muon = Muon(blocks)
    outer = [weight for weight in weights if id(weight) not in inner]
    adam = torch.optim.AdamW(outer, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    began, step, part = time.monotonic(), 0, 0.0
    while part < 1:
        rate = _rate(part)
        for group in adam.param_groups:
            group["lr"] = LEARNING_RATE * rate
        inputs, target, prior = batches.draw()
        with torch.autocast(stack.device.type, torch.bfloat16, enabled=_bfloat16(stack.device)):
            logits = network(inputs, prior)
        network.zero_grad()
        _loss(logits, target).backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        adam.step()
        muon.step(rate)
        keep = min(1 - 1 / AVERAGING, (step + 1) / (step + 10))
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 1 - keep)
        step += 1
        spent = 0.0 if seconds is None else (time.monotonic() - began) / seconds
        last, part = part, max(step / steps, spent)
        on_step(min(1.0, part) - last)
    with torch.no_grad():
        for weight, average in zip(weights, averages, strict=True):
            weight.copy_(average)
    return FittedNetwork(stack, network.eval(), min(1.0, step / steps), time.monotonic() - began)


def _rate(part: float) -> float:
    """Part of the full learning rate at a part, 0..1, of the fit: up along a line, down along a cosine."""
    if part < WARM_UP:
        return 0.04 + 0.96 * part / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (part - WARM_UP) / (1 - WARM_UP))


def _bfloat16(device: torch.device) -> bool:
    """Whether the processor computes with bfloat16 itself."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and supported()


def _loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus the mean Dice loss of the labels that are there (Milletari et al., 2016)."""
    log = functional.log_softmax(logits, dim=1)
    probabilities = log.exp()
    entropy = -(target * log).sum(dim=1).mean()
    both = (probabilities * target).sum(dim=(0, 2, 3))
    each = probabilities.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))
    present = (target.sum(dim=(0, 2, 3)) > 5).float()
    dice = 1 - (2 * both + 1) / (each + 1)
    return entropy + (dice * present).sum() / present.sum().clamp(min=1)


class _Batches:
    """Random crops, each label as often as any other, slightly deformed."""

    def __init__(self, stack: Stack, examples: Sequence[Example], seed: int) -> None:
        self._stack = stack
        self._examples = examples
        self._rng = np.random.default_rng(seed)
        self._noise = torch.Generator().manual_seed(seed)
        self._crop = [min(CROP, side) for side in stack.size]
        self._pixels: list[dict[int, np.ndarray]] = []
        for example in examples:
            hard = example.target.argmax(dim=0).cpu().numpy().reshape(-1)
            order = np.argsort(hard, kind="stable")
            values, starts = np.unique(hard[order], return_index=True)
            parts = np.split(order.astype(np.int32), starts[1:])
            self._pixels.append(dict(zip(values.tolist(), parts, strict=True)))
        present = sorted({value for pixels in self._pixels for value in pixels})
        self._showing = {
            value: [
                [n for n, pixels in enumerate(self._pixels) if value in pixels and examples[n].labelled == labelled]
                for labelled in (True, False)
            ]
            for value in present
        }

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs, targets and priors of one batch."""
        crops = [self._one() for _ in range(BATCH)]
        inputs, target, prior = (torch.stack(parts) for parts in zip(*crops, strict=True))
        maps = torch.cat([inputs, target, prior], dim=1)
        maps = functional.grid_sample(maps, self._deformation(), align_corners=False, padding_mode="border")
        inputs, target, prior = maps.split([inputs.shape[1], target.shape[1], prior.shape[1]], dim=1)
        images = len(CONTEXT)
        gain = torch.exp(self._normal(0.1, BATCH, 1, 1, 1))
        shift = self._normal(0.05, BATCH, 1, 1, 1)
        noise = self._normal(0.03, BATCH, images, *inputs.shape[2:])
        moved = self._normal(0.05, BATCH, 3, 1, 1)
        inputs = torch.cat([inputs[:, :images] * gain + shift + noise, inputs[:, images:] + moved], dim=1)
        return inputs, target, prior

    def _one(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = self._rng
        values = list(self._showing)
        value = values[rng.integers(len(values))]
        labelled, soft = self._showing[value]
        several = labelled if labelled and (not soft or rng.random() < LABELLED_SHARE) else soft
        number = several[rng.integers(len(several))]
        example = self._examples[number]
        places = self._pixels[number][value]
        place = divmod(int(places[rng.integers(len(places))]), self._stack.size[1])
        part, prior_part = [], []
        for centre, side, size in zip(place, self._crop, self._stack.size, strict=True):
            start = int(np.clip(centre - rng.integers(side // 4, side - side // 4 + 1), 0, size - side))
            moved = int(np.clip(start + rng.integers(-2, 3), 0, size - side))
            part.append(slice(start, start + side))
            prior_part.append(slice(moved, moved + side))
        return (
            self._stack.inputs(example.index, *part),
            example.target[(slice(None), *part)],
            example.prior[(slice(None), *prior_part)],
        )

    def _deformation(self) -> torch.Tensor:
        rng = self._rng
        turn = rng.normal(0, 0.1, BATCH)
        scale = np.exp(rng.normal(0, 0.07, (BATCH, 2)))
        aspect = self._crop[0] / self._crop[1]
        matrix = np.zeros((BATCH, 2, 3), dtype=np.float32)
        matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(turn) * scale[:, 0], -np.sin(turn) * aspect
        matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(turn) / aspect, np.cos(turn) * scale[:, 1]
        grid = functional.affine_grid(torch.from_numpy(matrix), [BATCH, 1, *self._crop], align_corners=False)
        bend = functional.interpolate(
            self._normal(0.03, BATCH, 2, 4, 4), size=tuple(self._crop), mode="bicubic", align_corners=False
        )
        return grid.to(self._stack.device) + bend.permute(0, 2, 3, 1)

    def _normal(self, deviation: float, *shape: int) -> torch.Tensor:
        """Normally distributed numbers, the same on every device."""
        return (torch.randn(shape, generator=self._noise) * deviation).to(self._stack.device)
