"""Voxels of a case as nodes of Slicer hold them; a background thread copies them and computes their display range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from ...core.volume import Geometry, LabelMap, Volume
from ..mrml.reading import ijk_to_ras

# Percentages of voxels below the ends of the display range: those of Slicer's automatic window and level.
DISPLAY_PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True)
class CaseImages:
    """Image and labels of a case, not yet in the scene.

    Attributes
    ----------
    image : vtkImageData
        Without geometry, as a volume node holds it.
    labelmap : vtkOrientedImageData
    display_range : (float, float)
        Intensities shown black and white: Slicer's automatic window and level, which take a second for a large CT.
    """

    image: Any
    labelmap: Any
    display_range: tuple[float, float]

    @classmethod
    def of_case(cls, volume: Volume, label_map: LabelMap) -> CaseImages:
        """Copy the voxels of a case. For a background thread."""
        image = vtk.vtkImageData()
        _copy_voxels(_displayable(volume.array), image)
        labelmap = slicer.vtkOrientedImageData()
        _copy_voxels(label_map.array, labelmap)
        labelmap.SetGeometryFromImageToWorldMatrix(ijk_to_ras_matrix(label_map.geometry))
        return cls(image, labelmap, _display_range(image))


def ijk_to_ras_matrix(geometry: Geometry) -> Any:
    """The affine of a grid as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras(geometry).reshape(-1))
    return matrix


def _copy_voxels(array: np.ndarray, image: Any) -> None:
    image.SetDimensions(array.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(array.dtype), 1)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape)
    for target, values in zip(voxels, array, strict=True):  # in between, the GUI thread can run
        target[...] = values


def _displayable(array: np.ndarray) -> np.ndarray:
    """The same intensities in a data type that Slicer shows: it refuses integers of 64 bits."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return array
    limits = np.iinfo(np.int32)
    fits = limits.min <= array.min() and array.max() <= limits.max
    return array.astype(np.int32 if fits else np.float64)


def _display_range(image: Any) -> tuple[float, float]:
    statistics = vtk.vtkImageHistogramStatistics()
    statistics.SetAutoRangePercentiles(*DISPLAY_PERCENTILES)
    statistics.SetAutoRangeExpansionFactors(0.0, 0.0)
    statistics.SetInputData(image)
    statistics.Update()
    low, high = statistics.GetAutoRange()
    return low, high
