"""Unfinished runs: a segmentation node says which run works on it, so that a saved scene leads back to its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import InputError
from .run_plan import Prepared
from .run_store import RunStore

RUN_ATTRIBUTE = "FewShotAnnotate.Run"
# A node reference, for ids may change when a scene is opened.
VOLUME_ROLE = "FewShotAnnotate.RunVolume"


@dataclass(frozen=True)
class RunMark:
    """What a segmentation node says about its run.

    Attributes
    ----------
    run_id : str
        Empty if there is none.
    volume_id : str
        Node id of the volume that it is about.
    """

    run_id: str = ""
    volume_id: str = ""

    @classmethod
    def of_node(cls, node: Any) -> RunMark:
        """The mark of a segmentation node."""
        return cls(node.GetAttribute(RUN_ATTRIBUTE) or "", node.GetNodeReferenceID(VOLUME_ROLE) or "")

    def keep(self, node: Any) -> None:
        """Put the mark on a segmentation node, or take it away."""
        if self.run_id:
            node.SetAttribute(RUN_ATTRIBUTE, self.run_id)
            node.SetNodeReferenceID(VOLUME_ROLE, self.volume_id)
        else:
            node.RemoveAttribute(RUN_ATTRIBUTE)
            node.RemoveNodeReferenceIDs(VOLUME_ROLE)


@dataclass(frozen=True)
class UnfinishedRun:
    """A run on a segmentation that no process works on any more.

    Attributes
    ----------
    engine : str
        Its name.
    done, total : int
        Slices that are finished, be it as drafts, and all that were to be filled.
    drafts : int
        Of the finished ones.
    """

    run_id: str
    engine: str
    done: int
    total: int
    drafts: int


def unfinished_run(store: RunStore, run_id: str) -> UnfinishedRun | None:
    """A left run that can be continued; None if there is none, it is at work, or it cannot be read."""
    held = store.take(run_id)
    if held is None:
        return None
    try:
        prepared = Prepared.open(held.path)
        slices = prepared.plan.to_fill
        done = prepared.finished()[slices]
        drafts = int(np.count_nonzero(prepared.drafts()[slices] & done))
        return UnfinishedRun(run_id, prepared.plan.job.engine, int(np.count_nonzero(done)), len(slices), drafts)
    except InputError:
        return None
    finally:
        held.leave()
