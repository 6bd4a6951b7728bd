"""VolumeStep: step 1 of the panel, where volume and segmentation are chosen."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from ...core.errors import InputError
from ...core.slice_axis import SliceAxis
from ..i18n import tr as _
from ..messages import error_text, refusal_text
from ..mrml.further_volumes import further_volumes, possible_volumes, set_further_volumes
from ..mrml.node_types import VolumeNode, VtkSegment
from ..mrml.reading import BINARY_LABELMAP, volume_geometry
from ..mrml.sample_data import make_example
from ..mrml.sequence import require_no_sequence
from .further_list import FurtherList
from .names import plane_name
from .step import Step
from .widgets import attempt


class VolumeStep(Step):
    """Widgets of step 1; the selectors themselves follow the parameter node."""

    def set_up(self) -> None:
        """Connect the widgets, once."""
        self._example_id = ""
        self.ui.newSegmentationButton.connect("clicked(bool)", self._on_new_segmentation)
        self.ui.exampleButton.connect("clicked(bool)", self._on_example)
        self._further = FurtherList(self.ui.furtherList, self.ui.furtherLabel, self._on_further)

    def show(self) -> None:
        """Show what is chosen."""
        busy = self.why_busy()
        for name in ("volumeSelector", "segmentationSelector"):
            self.enable(name, busy)
        self.ui.exampleButton.visible = self.volume is None
        self.ui.newSegmentationButton.visible = self.segmentation is None
        self.enable(
            "newSegmentationButton", busy or (InputError("volume_not_chosen") if self.volume is None else None)
        )
        self.ui.inputsLabel.text = self._described()
        self.poll()

    def poll(self) -> None:
        """Show which further volumes there are; called by the panel's timer, as volumes come and go."""
        if self.parameters() is None:
            return
        volume = self.volume
        possible = [] if volume is None else [(node.GetID(), node.GetName()) for node in possible_volumes(volume)]
        chosen = [node.GetID() for node in further_volumes(self.logic.rawParameterNode(), volume)]
        self._further.show(possible, chosen, self.why_busy() is None)

    @property
    def shows_example(self) -> bool:
        """Whether the example that this panel loaded is chosen."""
        node = self.segmentation
        return bool(self._example_id) and node is not None and node.GetID() == self._example_id

    @property
    def state_line(self) -> str:
        """State of the step in a few words."""
        refusal = self.nodes.refusal
        return refusal_text(refusal) if refusal is not None else str(self.volume.GetName())

    def _described(self) -> str:
        volume = self.volume
        if volume is None:
            return _("Load a volume with File, Add Data or take one from the Sample Data module.")
        if volume.GetImageData() is None:
            return error_text(InputError("node_empty", name=volume.GetName()))
        try:
            require_no_sequence(volume)
        except InputError as error:
            return error_text(error)
        grid = volume_geometry(volume)
        size = " x ".join(map(str, grid.shape[::-1]))
        spacing = " x ".join(f"{length:.3g}" for length in grid.spacing)
        text = _("{size} voxels of {spacing} mm, {plane} slices").format(
            size=size, spacing=spacing, plane=plane_name(SliceAxis(0).patient_plane(grid))
        )
        return text + _(", under a transform") if _is_transformed(volume, self.segmentation) else text

    def _on_further(self, identifiers: list[str]) -> None:
        nodes = (slicer.mrmlScene.GetNodeByID(identifier) for identifier in identifiers)
        set_further_volumes(self.logic.rawParameterNode(), [node for node in nodes if node is not None])

    def _on_example(self, checked: bool = False) -> None:
        def load() -> None:
            nodes, parameters = make_example(), self.parameters()
            parameters.volume, parameters.segmentation = nodes.volume, nodes.segmentation
            self._example_id = nodes.segmentation.GetID()

        attempt(load)

    def _on_new_segmentation(self, checked: bool = False) -> None:
        volume, parameters = self.volume, self.parameters()
        if volume is None:
            return
        name = _("{volume} segmentation").format(volume=volume.GetName())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        segment_id = node.GetSegmentation().AddEmptySegment()
        _set_grid(node.GetSegmentation().GetSegment(segment_id), volume)
        parameters.segmentation = node


def _set_grid(segment: VtkSegment, volume: VolumeNode) -> None:
    """Give a segment without voxels the volume's grid.

    Its default grid has a spacing of 1 mm, and Slicer would save all segments on it as long as this one is empty.
    """
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image = segment.GetRepresentation(BINARY_LABELMAP)
    if image is not None:
        image.SetGeometryFromImageToWorldMatrix(matrix)


def _is_transformed(*nodes: Any) -> bool:
    return any(node is not None and node.GetParentTransformNode() is not None for node in nodes)
