"""RefusalChecks: input that cannot be filled is refused in one sentence; checks of the self-test."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk

from ...core.errors import InputError
from ...engines.registry import engine_class
from ..messages import error_text
from .panel_checks import PanelChecks

_ENGINE_OF_PYTORCH = "adapt"
# Time for the panel's timer to notice what changed in the scene.
_NOTICE_SECONDS = 0.5


class RefusalChecks(PanelChecks):
    """Provokes every refusal, each with its own nodes, which are removed again."""

    def run(self) -> None:
        """Provoke every refusal; nothing is filled."""
        for check in (self._closed_surface_only, self._non_linear_transform, self._sequence, self._missing_package):
            check()
            self._walk.until(lambda: self._ui.fillButton.enabled)

    def _closed_surface_only(self) -> None:
        node = self._walk.add_segmentation("Surfaces")
        node.CreateClosedSurfaceRepresentation()
        node.GetSegmentation().SetSourceRepresentationName("Closed surface")
        self._parameters.segmentation = node
        self._require_refused(lambda text: text.startswith("Segmentation 'Surfaces' is stored as"), "Surfaces")
        self._parameters.segmentation = self._walk.segmentation
        slicer.mrmlScene.RemoveNode(node)

    def _non_linear_transform(self) -> None:
        bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Bent")
        bent.SetAndObserveTransformToParent(_thin_plate_spline())
        self._walk.volume.SetAndObserveTransformNodeID(bent.GetID())
        self._require_error(InputError("transform_not_linear", name=self._walk.volume.GetName()))
        self._walk.volume.SetAndObserveTransformNodeID(None)
        slicer.mrmlScene.RemoveNode(bent)

    def _sequence(self) -> None:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Frames")
        slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(self._walk.volume).copy())
        volume.CopyOrientation(self._walk.volume)
        frames = slicer.mrmlScene.AddNode(slicer.vtkMRMLSequenceNode())
        for value in ("0", "1"):
            frames.SetDataNodeAtValue(volume, value)
        browser = slicer.mrmlScene.AddNode(slicer.vtkMRMLSequenceBrowserNode())
        browser.SetAndObserveMasterSequenceNodeID(frames.GetID())
        browser.AddProxyNode(volume, frames, False)
        self._parameters.volume = volume
        self._require_error(InputError("volume_sequence", name="Frames", frames=2))
        self._parameters.volume = self._walk.volume
        for node in (browser, frames, volume):
            slicer.mrmlScene.RemoveNode(node)

    def _missing_package(self) -> None:
        engine = self._parameters.engine
        self._parameters.engine = _ENGINE_OF_PYTORCH
        with _without_torch():
            self._require_error(InputError("pytorch_extension_missing"))
        self._parameters.engine = engine

    # --- helper methods

    def _require_error(self, error: InputError) -> None:
        sentence = error_text(error)
        self._require_refused(lambda text: text == sentence, sentence)

    def _require_refused(self, is_refusal: Callable[[str], bool], what: str) -> None:
        """Fill is disabled with a reason that all can read, or reports it in a dialog once it is pressed."""
        before = self._walk.labels()
        end = time.monotonic() + _NOTICE_SECONDS
        self._walk.until(lambda: time.monotonic() > end)
        with recorded_errors() as reported:
            if self._ui.fillButton.enabled:
                self._ui.fillButton.click()
            self._walk.until(
                lambda: any(map(is_refusal, (*reported, self._ui.statusLabel.text, self._ui.inputsLabel.text)))
            )
        self._test.assertLessEqual(len(reported), 1, what)
        np.testing.assert_array_equal(self._walk.labels(), before)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Context manager: sets an attribute, and restores or removes it afterwards."""
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


@contextmanager
def recorded_errors() -> Iterator[list[str]]:
    """Errors that dialogs would report, which are not shown."""
    reported: list[str] = []
    with replaced(slicer.util, "errorDisplay", lambda text, *_arguments, **_keywords: reported.append(text)):
        yield reported


@contextmanager
def recorded_questions(answer: bool, asked: list[str] | None = None) -> Iterator[list[str]]:
    """Questions that dialogs would ask, added to a list, which are answered and not shown."""
    asked = [] if asked is None else asked

    def ask(text: str, *_arguments: Any, **_keywords: Any) -> bool:
        asked.append(text)
        return answer

    with replaced(slicer.util, "confirmOkCancelDisplay", ask):
        yield asked


@contextmanager
def _without_torch() -> Iterator[None]:
    """Context manager: torch and the extension that installs it seem to be missing."""
    modules = {"PyTorchUtils": sys.modules.get("PyTorchUtils")}
    sys.modules["PyTorchUtils"] = None  # type: ignore[assignment]
    try:
        with replaced(engine_class(_ENGINE_OF_PYTORCH), "missing_packages", staticmethod(lambda: ("torch",))):
            yield
    finally:
        del sys.modules["PyTorchUtils"]
        sys.modules.update({name: module for name, module in modules.items() if module is not None})


def _thin_plate_spline() -> Any:
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (20, 20, 20)):
        source.InsertNextPoint(*corner)
        target.InsertNextPoint(corner[0], corner[1], corner[2] + (5 if corner == (20, 20, 20) else 0))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    return spline
