"""Further volumes that the user chose beside the one to label, kept as references of the parameter node."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from .node_types import ParameterNode, VolumeNode

# The parameter node refers to any number of nodes in this role; Slicer saves references with the scene.
_ROLE = "FewShotAnnotate.FurtherVolume"


def further_volumes(parameter_node: ParameterNode | None, volume: VolumeNode | None) -> tuple[VolumeNode, ...]:
    """The volume nodes that the user chose, without `volume`, the one to label.

    Parameters
    ----------
    parameter_node : vtkMRMLScriptedModuleNode or None
        Not wrapped.
    volume : vtkMRMLScalarVolumeNode or None
    """
    if parameter_node is None:
        return ()
    count = parameter_node.GetNumberOfNodeReferences(_ROLE)
    found = (parameter_node.GetNthNodeReference(_ROLE, number) for number in range(count))
    return tuple(node for node in found if node is not None and node is not volume)


def set_further_volumes(parameter_node: ParameterNode, nodes: Sequence[VolumeNode]) -> None:
    """Keep which volume nodes the user chose."""
    parameter_node.RemoveNodeReferenceIDs(_ROLE)
    for node in nodes:
        parameter_node.AddNodeReferenceID(_ROLE, node.GetID())


def possible_volumes(volume: VolumeNode | None) -> list[VolumeNode]:
    """The volume nodes of the scene that may be chosen beside `volume`, in the order of the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [
        node
        for node in nodes
        if node is not volume and not node.GetHideFromEditors() and not node.IsA("vtkMRMLLabelMapVolumeNode")
    ]
