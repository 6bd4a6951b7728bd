"""Random training patches: affine and elastic deformation in a single interpolation, then changes of intensity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from .plan import SpecialistPlan
from .preparation import PreparedExample


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Strength of the random changes.

    Attributes
    ----------
    rotation : float
        Largest rotation in radians about each axis (within the slices in 2D).
    scale, shear : float
        Standard deviation of the logarithm of the scale of each axis, and of the shear.
    elastic : float
        Standard deviation of the displacement of the nodes of a coarse grid, as a fraction of their distance.
    flips : tuple of bool
        Whether patches may be mirrored along each axis, in the order of the plan.
    gain, offset, log_gamma, noise, bias : float
        Standard deviations of the logarithm of the contrast, of the brightness, of the logarithm of gamma, of the
        noise, and of the logarithm of the bias field.
    blur : float
        Probability of a blur.
    """

    rotation: float = math.radians(15)
    scale: float = 0.12
    shear: float = 0.06
    elastic: float = 0.12
    flips: tuple[bool, bool, bool] = (False, False, False)
    gain: float = 0.15
    offset: float = 0.2
    log_gamma: float = 0.2
    noise: float = 0.1
    bias: float = 0.2
    blur: float = 0.2

    @classmethod
    def none(cls) -> AugmentationConfig:
        """No change."""
        return cls(rotation=0, scale=0, shear=0, elastic=0, gain=0, offset=0, log_gamma=0, noise=0, bias=0, blur=0)

    @classmethod
    def for_plan(cls, plan: SpecialistPlan) -> AugmentationConfig:
        """Thick slices are rotated by more, because such stacks are often oblique."""
        return cls(rotation=math.radians(30)) if plan.dimensions == 2 else cls()


class Augmentation:
    """Draws augmented patches, with the random generator of one training."""

    def __init__(self, plan: SpecialistPlan, config: AugmentationConfig, generator: np.random.Generator) -> None:
        self._plan = plan
        self._config = config
        self._random = generator

    def patch(self, example: PreparedExample, centre: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """A random patch around a voxel.

        Parameters
        ----------
        example : PreparedExample
        centre : int ndarray, shape [3]

        Returns
        -------
        image : float32 tensor, shape [inputs, (d,) h, w]
        target : float32 tensor, shape [labels + 1, (d,) h, w]
            Fraction of each label index in each voxel; all are 0 on slices that are not labelled.
        """
        if self._plan.dimensions == 2:
            image, target = self._slice(example, centre)
        else:
            image, target = self._block(example, centre)
        return self._intensities(image), target

    def _slice(self, example: PreparedExample, centre: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        context = self._plan.context
        last = len(example.image) - 1
        slices = [min(max(int(centre[0]) + offset, 0), last) for offset in range(-context, context + 1)]
        return self._sampled(example.image[slices], example.labels[int(centre[0])], self._plan.patch[1:], centre[1:])

    def _block(self, example: PreparedExample, centre: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self._sampled(example.image[None], example.labels, self._plan.patch, centre)

    def _sampled(
        self, image: np.ndarray, labels: np.ndarray, patch: Sequence[int], centre: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A deformed patch of an image `[channels, ...]` and of labels `[...]`."""
        position = self._offsets(patch) + torch.from_numpy(centre.astype(np.float32))
        # Only the region that the patch is sampled from is converted, because volumes can be large.
        flat = position.reshape(-1, len(patch)).numpy()
        last = np.array(labels.shape) - 1
        low = np.clip(np.floor(flat.min(axis=0)).astype(int) - 1, 0, last)
        high = np.clip(np.ceil(flat.max(axis=0)).astype(int) + 2, low + 1, last + 1)
        crop = tuple(slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
        within = position - torch.from_numpy(low.astype(np.float32))
        unit = (2 * within + 1) / torch.from_numpy((high - low).astype(np.float32)) - 1
        where = unit.flip(-1)[None]
        source = torch.from_numpy(image[(slice(None), *crop)].astype(np.float32))[None]
        target = _one_hot(labels[crop], self._plan.labels)[None]
        sampled = functional.grid_sample(source, where, "bilinear", "border", align_corners=False)
        shares = functional.grid_sample(target, where, "bilinear", "zeros", align_corners=False)
        return sampled[0], shares[0]

    def _offsets(self, patch: Sequence[int]) -> torch.Tensor:
        """Offset in voxels of each voxel of a deformed patch from its centre, `[..., axes]`."""
        # On voxel centres, so that a patch that is not deformed is not blurred.
        lines = [torch.arange(int(n), dtype=torch.float32) - int(n) // 2 for n in patch]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
        moved = grid @ torch.from_numpy(self._matrix(len(patch)).T.astype(np.float32))
        return moved + self._elastic(list(patch)) if self._config.elastic else moved

    def _matrix(self, axes: int) -> np.ndarray:
        config, random = self._config, self._random
        result = np.diag(np.exp(random.normal(0, config.scale, axes) * 0.5 + random.normal(0, config.scale) * 0.8))
        result = result @ (np.eye(axes) + config.shear * random.normal(size=(axes, axes)) * (1 - np.eye(axes)))
        planes = [(0, 1)] if axes == 2 else [(0, 1), (0, 2), (1, 2)]
        for first, second in planes:
            angle = random.uniform(-config.rotation, config.rotation)
            if axes == 3:
                angle *= self._isotropy(first, second)
            rotation = np.eye(axes)
            rotation[[first, first, second, second], [first, second, first, second]] = (
                math.cos(angle),
                -math.sin(angle),
                math.sin(angle),
                math.cos(angle),
            )
            result = result @ rotation
        for axis, allowed in enumerate(config.flips[3 - axes :]):
            if allowed and random.random() < 0.5:
                result[:, axis] *= -1
        return result

    def _isotropy(self, first: int, second: int) -> float:
        """Ratio of the spacings of two axes. Where it is small, rotating the array would shear the anatomy."""
        spacing = self._plan.spacing
        return min(spacing[first], spacing[second]) / max(spacing[first], spacing[second])

    def _elastic(self, patch: list[int]) -> torch.Tensor:
        axes = len(patch)
        nodes = [max(3, round(n / 12)) for n in patch]
        step = [n / (count - 1) for n, count in zip(patch, nodes, strict=True)]
        strength = abs(self._random.normal(0, self._config.elastic))
        field = self._random.normal(0, strength, (1, axes, *nodes)) * np.reshape(step, (1, axes, *[1] * axes))
        smooth = _enlarged(torch.from_numpy(field.astype(np.float32)), patch)
        return smooth[0].movedim(0, -1)

    def _intensities(self, image: torch.Tensor) -> torch.Tensor:
        config, random = self._config, self._random
        if config.blur and random.random() < config.blur:
            size = list(image.shape[1:])
            smaller = [max(2, round(n / random.uniform(1.0, 2.0))) for n in size]
            image = _enlarged(_enlarged(image[None], smaller), size)[0]
        if config.bias:
            nodes = [4] * (image.ndim - 1)
            field = torch.from_numpy(random.normal(0, config.bias, (1, 1, *nodes)).astype(np.float32))
            low = image.amin()
            image = (image - low) * torch.exp(_enlarged(field, list(image.shape[1:]))[0]) + low
        if config.log_gamma:
            low, span = image.amin(), (image.amax() - image.amin()).clamp(min=1e-3)
            image = ((image - low) / span) ** math.exp(random.normal(0, config.log_gamma)) * span + low
        gain, offset = math.exp(random.normal(0, config.gain)), random.normal(0, config.offset)
        noise = abs(random.normal(0, config.noise))
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        return image * gain + offset + noise * torch.randn(image.shape, generator=generator)


def _one_hot(labels: np.ndarray, count: int) -> torch.Tensor:
    """One-hot labels, float32 `[count + 1, ...]`; all channels are 0 in voxels that are not labelled."""
    index = torch.from_numpy(labels.astype(np.int64))
    values = torch.arange(count + 1).reshape(-1, *[1] * labels.ndim)
    return (index[None] == values).float()


def _enlarged(field: torch.Tensor, size: list[int]) -> torch.Tensor:
    mode = "trilinear" if len(size) == 3 else "bilinear"
    return functional.interpolate(field, size=size, mode=mode, align_corners=True)
