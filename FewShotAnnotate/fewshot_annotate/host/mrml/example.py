"""An example to try the module on: Slicer's sample MRHead, of which some slices are painted by a threshold."""

from __future__ import annotations

import numpy as np
import slicer

from ...core.errors import InputError
from ..chosen_nodes import ChosenNodes
from ..i18n import tr as _

SAMPLE = "MRHead"
# The head is brighter than the air around it.
_MIN_HEAD_INTENSITY = 30
_FIRST, _STEP = 5, 12


def make_example() -> ChosenNodes:
    """Download the sample, unless it was before, and paint the head on every 12th slice.

    Raises
    ------
    InputError
        The application has no module Sample Data, or the download failed.
    """
    try:
        import SampleData  # type: ignore[import-not-found]

        volume = SampleData.SampleDataLogic().downloadSample(SAMPLE)
    except (ImportError, OSError, ValueError, RuntimeError):
        volume = None
    if volume is None:
        raise InputError("example_unavailable")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _("Example"))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    bright = slicer.util.arrayFromVolume(volume) > _MIN_HEAD_INTENSITY
    painted = np.zeros(bright.shape, dtype=np.uint8)
    chosen = slice(_FIRST, len(bright) - _FIRST, _STEP)
    painted[chosen] = bright[chosen]
    segment_id = node.GetSegmentation().AddEmptySegment("", _("head"))
    slicer.util.updateSegmentBinaryLabelmapFromArray(painted, node, segment_id, volume)
    return ChosenNodes(volume, node)
