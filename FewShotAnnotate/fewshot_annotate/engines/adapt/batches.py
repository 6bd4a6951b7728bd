"""Random crops to fit a network on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from .stack import POSITIONS, Stack, TrainingSlice

# Standard deviations of the random changes: rotation in radians, logarithm of the scale, displacement of a coarse
# grid of points relative to half of the crop, logarithm of the contrast, brightness, noise, and position channels.
ROTATION, SCALE, BEND = 0.1, 0.07, 0.03
CONTRAST, BRIGHTNESS, NOISE, POSITION = 0.1, 0.05, 0.03, 0.05


class Batches:
    """Random crops, balanced over labels, with small random deformations and intensity changes."""

    def __init__(self, stack: Stack, examples: Sequence[TrainingSlice], seed: int) -> None:
        self._stack = stack
        self._config = stack.config
        self._examples = examples
        self._rng = np.random.default_rng(seed)
        self._noise = torch.Generator().manual_seed(seed)
        self._crop = [min(stack.config.crop, side) for side in stack.size]
        self._pixels: list[dict[int, np.ndarray]] = []
        for example in examples:
            hard = example.target.argmax(dim=0).cpu().numpy().reshape(-1).astype(np.uint16)  # sorted fast
            order = np.argsort(hard, kind="stable")
            values, starts = np.unique(hard[order], return_index=True)
            pixels_by_value = np.split(order.astype(np.int32), starts[1:])
            self._pixels.append(dict(zip(values.tolist(), pixels_by_value, strict=True)))
        present = sorted({value for pixels in self._pixels for value in pixels})
        self._examples_by_value = {
            value: [
                [n for n, pixels in enumerate(self._pixels) if value in pixels and examples[n].labelled == labelled]
                for labelled in (True, False)
            ]
            for value in present
        }

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw one batch.

        Returns
        -------
        float32 tensor, shape [batch, images + 3, h, w]
            Inputs.
        float tensors, shape [batch, classes, h, w]
            Targets and priors.
        """
        crops = [self._draw_crop() for _ in range(self._config.batch)]
        inputs, target, prior = (torch.stack(tensors) for tensors in zip(*crops, strict=True))
        maps = torch.cat([inputs, target, prior], dim=1)
        maps = functional.grid_sample(maps, self._deformation(), align_corners=False, padding_mode="border")
        inputs, target, prior = maps.split([inputs.shape[1], target.shape[1], prior.shape[1]], dim=1)
        images, batch, channels = self._stack.images, self._config.batch, self._stack.channels
        slices = len(self._config.context)
        gain = torch.exp(self._normal(CONTRAST, batch, channels, 1, 1)).repeat(1, slices, 1, 1)
        shift = self._normal(BRIGHTNESS, batch, channels, 1, 1).repeat(1, slices, 1, 1)
        noise = self._normal(NOISE, batch, images, *inputs.shape[2:])
        offset = self._normal(POSITION, batch, POSITIONS, 1, 1)
        inputs = torch.cat([inputs[:, :images] * gain + shift + noise, inputs[:, images:] + offset], dim=1)
        return inputs, target, prior

    def _draw_crop(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = self._rng
        values = list(self._examples_by_value)
        value = values[rng.integers(len(values))]
        labelled, soft = self._examples_by_value[value]
        candidates = labelled if labelled and (not soft or rng.random() < self._config.labelled_share) else soft
        example_number = candidates[rng.integers(len(candidates))]
        example = self._examples[example_number]
        positions = self._pixels[example_number][value]
        centre = divmod(int(positions[rng.integers(len(positions))]), self._stack.size[1])
        crop, prior_crop = [], []
        for position, side, size in zip(centre, self._crop, self._stack.size, strict=True):
            start = int(np.clip(position - rng.integers(side // 4, side - side // 4 + 1), 0, size - side))
            prior_start = int(np.clip(start + rng.integers(-2, 3), 0, size - side))
            crop.append(slice(start, start + side))
            prior_crop.append(slice(prior_start, prior_start + side))
        return (
            self._stack.inputs(example.index, *crop),
            example.target[(slice(None), *crop)],
            example.prior[(slice(None), *prior_crop)],
        )

    def _deformation(self) -> torch.Tensor:
        rng, batch, factor = self._rng, self._config.batch, self._config.augmentation
        rotation = rng.normal(0, ROTATION * factor, batch)
        scale = np.exp(rng.normal(0, SCALE * factor, (batch, 2)))
        aspect = self._crop[0] / self._crop[1]
        matrix = np.zeros((batch, 2, 3), dtype=np.float32)
        matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(rotation) * scale[:, 0], -np.sin(rotation) * aspect
        matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(rotation) / aspect, np.cos(rotation) * scale[:, 1]
        grid = functional.affine_grid(torch.from_numpy(matrix), [batch, 1, *self._crop], align_corners=False)
        bend = functional.interpolate(
            self._normal(BEND, batch, 2, 4, 4), size=tuple(self._crop), mode="bicubic", align_corners=False
        )
        return grid.to(self._stack.device) + bend.permute(0, 2, 3, 1)

    def _normal(self, deviation: float, *shape: int) -> torch.Tensor:
        """Normally distributed numbers, drawn on the CPU so that they are the same for every device."""
        numbers = torch.randn(shape, generator=self._noise)
        return (numbers * (deviation * self._config.augmentation)).to(self._stack.device)
