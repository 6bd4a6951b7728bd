"""Closed surface of a binary mask, with VTK alone: the filters and settings of Slicer's own conversion rule.

Follows vtkBinaryLabelmapToClosedSurfaceConversionRule of Slicer 5.10 to 5.13 with flying edges and without joint
smoothing, so that Slicer would make the same surface of the same voxels. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

# As in Slicer's rule.
_DECIMATION_FEATURE_ANGLE = 60.0
_SMOOTHING_ITERATIONS = (20, 40)  # at factor 0, and how many more at factor 1
_PASS_BAND_EXPONENT = -4.0


@dataclass(frozen=True)
class SurfaceSettings:
    """Conversion parameters of a segmentation.

    Attributes
    ----------
    decimation : float
        Part of the polygons to remove, 0..1.
    smoothing : float
        0 (none) to 1 (strong).
    normals : bool
        Whether normals are computed.
    """

    decimation: float = 0.0
    smoothing: float = 0.5
    normals: bool = True


@dataclass(frozen=True)
class SurfaceArrays:
    """A polygonal surface in RAS, mm.

    Attributes
    ----------
    points : float32 ndarray [n, 3]
    normals : float32 ndarray [n, 3], or [0, 3]
        One for each point, if they were computed.
    offsets, connectivity : int64 ndarray
        Polygons as in vtkCellArray.
    """

    points: np.ndarray
    normals: np.ndarray
    offsets: np.ndarray
    connectivity: np.ndarray

    @classmethod
    def of(cls, surface: Any) -> SurfaceArrays:
        """Arrays of a vtkPolyData; views, valid as long as it lives."""
        if not surface.GetNumberOfPoints():
            return cls.empty()
        normals = surface.GetPointData().GetNormals()
        polygons = surface.GetPolys()
        return cls(
            vtk_to_numpy(surface.GetPoints().GetData()),
            np.zeros((0, 3), dtype=np.float32) if normals is None else vtk_to_numpy(normals),
            vtk_to_numpy(polygons.GetOffsetsArray()).astype(np.int64, copy=False),
            vtk_to_numpy(polygons.GetConnectivityArray()).astype(np.int64, copy=False),
        )

    @classmethod
    def empty(cls) -> SurfaceArrays:
        """Surface of a segment without voxels."""
        nothing = np.zeros((0, 3), dtype=np.float32)
        return cls(nothing, nothing, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def poly_data(self) -> Any:
        """A vtkPolyData that owns a copy of the arrays."""
        surface = vtk.vtkPolyData()
        if not len(self.points):
            return surface
        points, polygons = vtk.vtkPoints(), vtk.vtkCellArray()
        points.SetData(numpy_to_vtk(self.points, deep=True))
        polygons.SetData(
            numpy_to_vtkIdTypeArray(self.offsets, deep=True), numpy_to_vtkIdTypeArray(self.connectivity, deep=True)
        )
        surface.SetPoints(points)
        surface.SetPolys(polygons)
        if len(self.normals):
            normals = numpy_to_vtk(self.normals, deep=True)
            normals.SetName("Normals")
            surface.GetPointData().SetNormals(normals)
        return surface


def closed_surface(
    mask: np.ndarray, first: Sequence[int], ijk_to_ras: np.ndarray, settings: SurfaceSettings
) -> SurfaceArrays:
    """Closed surface of a segment.

    Parameters
    ----------
    mask : uint8 or bool ndarray [k, j, i]
        The segment's voxels, cropped.
    first : (int, int, int)
        Number (k, j, i) of the first voxel of the mask.
    ijk_to_ras : ndarray 4x4
        Voxel (i, j, k) to RAS, mm.
    settings : SurfaceSettings
    """
    if not mask.any():
        return SurfaceArrays.empty()
    surface = _output(_flying_edges(_padded_image(mask, first)))
    if settings.decimation > 0:
        surface = _output(_decimation(settings.decimation), surface)
    if settings.smoothing > 0:
        surface = _output(_smoothing(settings.smoothing), surface)
    surface = _output(_transformation(ijk_to_ras), surface)
    if settings.normals:
        surface = _output(_normals(), surface)
    return SurfaceArrays.of(surface)


def _padded_image(mask: np.ndarray, first: Sequence[int]) -> Any:
    """Image of the mask with a margin of one empty voxel, without which the surface would be open."""
    voxels = np.pad(mask.view(np.uint8), 1)
    start, size = [int(number) - 1 for number in first[::-1]], voxels.shape[::-1]
    image = vtk.vtkImageData()
    image.SetExtent([end for low, length in zip(start, size, strict=True) for end in (low, low + length - 1)])
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.reshape(-1), deep=True))
    return image


def _output(algorithm: Any, surface: Any = None) -> Any:
    if surface is not None:
        algorithm.SetInputData(surface)
    algorithm.Update()
    return algorithm.GetOutput()


def _flying_edges(image: Any) -> Any:
    edges = vtk.vtkDiscreteFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeGradientsOff()
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    edges.SetValue(0, 1)
    return edges


def _decimation(factor: float) -> Any:
    decimation = vtk.vtkDecimatePro()
    decimation.SetFeatureAngle(_DECIMATION_FEATURE_ANGLE)
    decimation.SplittingOff()
    decimation.PreserveTopologyOn()
    decimation.SetMaximumError(1)
    decimation.SetTargetReduction(factor)
    return decimation


def _smoothing(factor: float) -> Any:
    least, more = _SMOOTHING_ITERATIONS
    smoothing = vtk.vtkWindowedSincPolyDataFilter()
    smoothing.SetNumberOfIterations(int(least + factor * more))
    smoothing.SetPassBand(10.0 ** (_PASS_BAND_EXPONENT * factor))
    smoothing.BoundarySmoothingOff()
    smoothing.FeatureEdgeSmoothingOff()
    smoothing.NonManifoldSmoothingOn()
    smoothing.NormalizeCoordinatesOn()
    return smoothing


def _transformation(ijk_to_ras: np.ndarray) -> Any:
    matrix, transform = vtk.vtkMatrix4x4(), vtk.vtkTransform()
    matrix.DeepCopy([float(number) for number in ijk_to_ras.reshape(-1)])
    transform.SetMatrix(matrix)
    transformation = vtk.vtkTransformPolyDataFilter()
    transformation.SetTransform(transform)
    return transformation


def _normals() -> Any:
    normals = vtk.vtkPolyDataNormals()
    normals.ConsistencyOn()
    normals.SplittingOff()
    return normals
