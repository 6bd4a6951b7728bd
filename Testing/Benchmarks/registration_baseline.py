"""Label propagation by registration: examples are registered to a volume and vote on its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from fewshot_annotate.core.volume import Volume, to_image


def majority_of_registered(volume: Volume, examples: Sequence[tuple[Volume, np.ndarray]], labels: int) -> np.ndarray:
    """Label with the most votes of the registered examples at each voxel, uint8 `[k, j, i]`."""
    votes = np.zeros((labels + 1, *volume.array.shape), dtype=np.uint8)
    for other, truth in examples:
        registered = _registered(volume, other, truth)
        for label in range(labels + 1):
            votes[label] += registered == label
    return votes.argmax(axis=0).astype(np.uint8)


def _registered(volume: Volume, other: Volume, truth: np.ndarray) -> np.ndarray:
    """Labels of an example after affine and B-spline registration to a volume."""
    fixed = sitk.Cast(to_image(volume.array, volume.geometry), sitk.sitkFloat32)
    moving = sitk.Cast(to_image(other.array, other.geometry), sitk.sitkFloat32)
    initial = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    affine = _optimised(fixed, moving, initial, None)
    mesh = [max(1, min(6, size // 8)) for size in fixed.GetSize()]
    spline = sitk.BSplineTransformInitializer(fixed, mesh)
    found = _optimised(fixed, moving, spline, affine)
    whole = sitk.CompositeTransform([affine, found])
    labels = to_image(truth.astype(np.uint8), other.geometry)
    registered = sitk.Resample(labels, fixed, whole, sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(registered)


def _optimised(
    fixed: sitk.Image, moving: sitk.Image, initial: sitk.Transform, before: sitk.Transform | None
) -> sitk.Transform:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetInterpolator(sitk.sitkLinear)
    thin = min(fixed.GetSize()) < 16
    method.SetShrinkFactorsPerLevel([1] if thin else [2, 1])
    method.SetSmoothingSigmasPerLevel([1] if thin else [1, 0])
    if before is None:
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
        method.SetOptimizerScalesFromPhysicalShift()
    else:
        method.SetMovingInitialTransform(before)
        method.SetOptimizerAsLBFGSB(numberOfIterations=30)
    method.SetInitialTransform(initial, False)
    return method.Execute(fixed, moving)
