"""A slice view without a window: Slicer's own slice logic and display of segmentations, drawn by VTK off screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from support import mrml

_MANAGER = "vtkMRMLSegmentationsDisplayableManager2D"


class SliceView:
    """One view of the slices of a volume, whose segmentations are drawn over it.

    Parameters
    ----------
    volume_node : vtkMRMLScalarVolumeNode
        Shown in the planes of its own slices.
    pixels : int
        Width and height.
    """

    def __init__(self, volume_node: Any, pixels: int) -> None:
        self._pixels = pixels
        application = mrml.application_logic()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._node = self._logic.AddSliceNode("Red")
        self._node.SetDimensions(pixels, pixels, 1)
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self._node.RotateToVolumePlane(volume_node)
        self._logic.FitSliceToAll(pixels, pixels)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.SetSize(pixels, pixels)
        self._draw_over(self._add_renderer(), application)

    def _add_renderer(self) -> Any:
        """A renderer of the volume."""
        renderer = vtk.vtkRenderer()
        self._window.AddRenderer(renderer)
        mapper, actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(self._logic.GetImageDataConnection())
        actor.SetMapper(mapper)
        renderer.AddViewProp(actor)
        return renderer

    def _draw_over(self, renderer: Any, application: Any) -> None:
        """Draw segmentations, over what the renderer draws already."""
        self._interactor = vtk.vtkRenderWindowInteractor()  # required by the manager
        self._interactor.SetRenderWindow(self._window)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application)
        if not factory.IsDisplayableManagerRegistered(_MANAGER):
            factory.RegisterDisplayableManager(_MANAGER)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.Initialize(factory, renderer)
        self._managers.SetMRMLDisplayableNode(self._node)

    def go_to(self, world: np.ndarray) -> None:
        """Show the slice through a point of the world, RAS in mm."""
        self._node.JumpSliceByOffsetting(*map(float, world))

    def picture(self) -> np.ndarray:
        """What is drawn, uint8 [row, column, red green blue], first row at the top."""
        self._window.Render()
        reader = vtk.vtkWindowToImageFilter()
        reader.SetInput(self._window)
        reader.ReadFrontBufferOff()
        reader.Update()
        values = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
        return values.reshape(self._pixels, self._pixels, 3)[::-1].copy()

    def world(self) -> np.ndarray:
        """Point of the world, RAS in mm, in the middle of each pixel: float [row, column, 3]."""
        matrix = slicer.util.arrayFromVTKMatrix(self._node.GetXYToRAS())
        columns, rows = np.meshgrid(np.arange(self._pixels), np.arange(self._pixels)[::-1])
        points = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)], axis=-1)
        return np.asarray((points @ matrix.T)[..., :3])

    def close(self) -> None:
        """Release the scene."""
        self._managers.SetMRMLDisplayableNode(None)
        self._window.Finalize()
        self._logic.SetMRMLScene(None)


@contextmanager
def slice_view(volume_node: Any, pixels: int = 360) -> Iterator[SliceView]:
    """A view, closed at the end."""
    view = SliceView(volume_node, pixels)
    try:
        yield view
    finally:
        view.close()


def save_picture(path: Path, *pictures: np.ndarray) -> None:
    """Write pictures side by side, for inspection."""
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(pictures, axis=1)).save(path)
