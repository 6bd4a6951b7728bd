"""Sample data: volumes for the tutorial, and an example to try the module on. Downloaded only when the user asks.

Slicer imports this file when it starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .chosen_nodes import ChosenNodes

_ICONS = Path(__file__).parents[3] / "Resources" / "Icons"
_URL = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"

# Name, file, SHA-256. Both are Slicer's own sample data; CTLiver: Medical Segmentation Decathlon, CC-BY-SA 4.0.
SAMPLES = (
    ("FewShotAnnotateMRHead", "MR-head.nrrd", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
    ("FewShotAnnotateCTLiver", "CTLiver.nrrd", "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"),
)
# The example: the head is painted, which is brighter than the air around it.
_EXAMPLE = "MRHead"
_MIN_HEAD_INTENSITY = 30
_FIRST, _STEP = 5, 12


def register_sample_data() -> None:
    """List the samples in the Sample Data module, with their checksums, if the application has that module."""
    try:
        import SampleData  # type: ignore[import-not-found]
    except ImportError:
        return

    for name, file, digest in SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="Few-Shot Annotate",
            sampleName=name,
            thumbnailFileName=str(_ICONS / "FewShotAnnotate.png"),
            uris=_URL + digest,
            fileNames=file,
            checksums=f"SHA256:{digest}",
            nodeNames=name,
        )


def make_example() -> ChosenNodes:
    """Download Slicer's sample MRHead, unless it was before, and paint the head on every 12th slice.

    Raises
    ------
    InputError
        The application has no module Sample Data, or the download failed.
    """
    import numpy as np
    import slicer

    from ...core.errors import InputError
    from ..i18n import tr as _
    from .chosen_nodes import ChosenNodes

    try:
        import SampleData

        volume = SampleData.SampleDataLogic().downloadSample(_EXAMPLE)
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
