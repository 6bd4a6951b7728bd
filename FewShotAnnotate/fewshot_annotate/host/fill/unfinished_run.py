"""Unfinished runs: a segmentation node refers to its run, so that the folder is found again from a saved scene."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.errors import InputError
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid_reader import GridReader
from ..mrml.node_types import Scene, SegmentationNode
from .preparation import read_unchanged
from .run_plan import PreparedRun, RunPlan
from .run_store import RunFolder, RunStore

RUN_ATTRIBUTE = "FewShotAnnotate.Run"
# A node reference, because loading a scene may change the ids of nodes.
VOLUME_ROLE = "FewShotAnnotate.RunVolume"


@dataclass(frozen=True)
class RunReference:
    """Reference from a segmentation node to its run.

    Attributes
    ----------
    run_id : str
        Empty if there is none.
    volume_id : str
        Node id of the volume of the run.
    """

    run_id: str = ""
    volume_id: str = ""

    @classmethod
    def read(cls, node: SegmentationNode) -> RunReference:
        """The reference that a segmentation node holds."""
        return cls(node.GetAttribute(RUN_ATTRIBUTE) or "", node.GetNodeReferenceID(VOLUME_ROLE) or "")

    def write(self, node: SegmentationNode) -> None:
        """Store the reference on a segmentation node; an empty one removes it."""
        if self.run_id:
            node.SetAttribute(RUN_ATTRIBUTE, self.run_id)
            node.SetNodeReferenceID(VOLUME_ROLE, self.volume_id)
        else:
            node.RemoveAttribute(RUN_ATTRIBUTE)
            node.RemoveNodeReferenceIDs(VOLUME_ROLE)


@dataclass(frozen=True)
class ReopenedRun:
    """An unfinished run that is to be continued; no other process can open its folder meanwhile."""

    nodes: ChosenNodes
    plan: RunPlan
    folder: RunFolder

    @classmethod
    def open(cls, scene: Scene, nodes: ChosenNodes, store: RunStore, grids: GridReader) -> ReopenedRun:
        """Open the run that a segmentation node refers to.

        Parameters
        ----------
        scene : vtkMRMLScene
        nodes : ChosenNodes
            Their volume is used if that of the run was removed and loaded again.
        store : RunStore
        grids : GridReader

        Raises
        ------
        InputError
            There is no such run, it is in progress, or volume or segmentation no longer fit it.
        """
        reference = RunReference.read(nodes.segmentation)
        nodes = ChosenNodes(scene.GetNodeByID(reference.volume_id) or nodes.volume, nodes.segmentation)
        if nodes.volume is None:
            raise InputError("run_volume_missing")
        folder = store.acquire(reference.run_id)
        if folder is None:
            raise InputError("run_not_left")
        try:
            plan = PreparedRun.open(folder.path).plan
            read_unchanged(plan, nodes, grids)
        except InputError:
            folder.release()
            raise
        return cls(nodes, plan, folder)
