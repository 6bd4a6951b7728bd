"""ChosenNodes: the volumes and the segmentation that are worked on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.errors import InputError
from ..messages import Refusal
from .node_types import SegmentationNode, VolumeNode


@dataclass(frozen=True)
class ChosenNodes:
    """Nodes of the scene, each None where none is chosen.

    Attributes
    ----------
    volume : vtkMRMLScalarVolumeNode or None
    segmentation : vtkMRMLSegmentationNode or None
    further : tuple of vtkMRMLScalarVolumeNode
        Further volumes of the same patient in the same position; may be empty.
    """

    # Any stands for None where `complete` was checked before.
    volume: VolumeNode | Any = None
    segmentation: SegmentationNode | Any = None
    further: tuple[VolumeNode, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether both are chosen."""
        return self.refusal is None

    @property
    def refusal(self) -> Refusal:
        """Which node has to be chosen first."""
        if self.volume is None:
            return InputError("volume_not_chosen")
        if self.segmentation is None:
            return InputError("segmentation_not_chosen")
        return None
