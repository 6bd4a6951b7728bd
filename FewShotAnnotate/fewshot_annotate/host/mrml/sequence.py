"""Sequences: a volume that shows one frame of several (4D) changes under the labels when another frame is shown."""

from __future__ import annotations

from ...core.errors import InputError
from .node_types import VolumeNode


def require_no_sequence(volume_node: VolumeNode) -> None:
    """Refuse a volume node in which a sequence browser shows one frame after the other.

    Raises
    ------
    InputError
        The volume is a frame of a sequence of more than one.
    """
    scene = volume_node.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(number, "vtkMRMLSequenceBrowserNode")
        frames = browser.GetSequenceNode(volume_node)
        if frames is not None and frames.GetNumberOfDataNodes() > 1:
            raise InputError("volume_sequence", name=volume_node.GetName(), frames=frames.GetNumberOfDataNodes())
