"""UnfinishedRuns: find, resume, commit and delete unfinished runs, which segmentation nodes refer to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid_reader import GridReader
from ..mrml.node_types import Scene, SegmentationNode
from ..tasks import BackgroundTasks
from .run_plan import PreparedRun
from .run_store import RunFolder, RunStore
from .unfinished_run import ReopenedRun, RunReference


@dataclass(frozen=True)
class UnfinishedRun:
    """A run on a segmentation that no process works on any more.

    Attributes
    ----------
    run_id : str
    engine : str
        Name of the engine.
    done, total : int
        Number of slices that are finished, drafts among them, and of all slices to fill.
    drafts : int
        Number of drafts among the finished slices.
    """

    run_id: str
    engine: str
    done: int
    total: int
    drafts: int


class UnfinishedRuns:
    """The unfinished runs of segmentations, and what a user may do with them.

    Parameters
    ----------
    scene : vtkMRMLScene
    grids : GridReader
    store : RunStore
    tasks : BackgroundTasks
        Deletes folders.
    resume : function
        Called with a function that opens a ReopenedRun, and a bool: True to only commit the slices that are finished.
    changed : function
        Called after a run was deleted.
    """

    def __init__(
        self,
        scene: Scene,
        grids: GridReader,
        store: RunStore,
        tasks: BackgroundTasks,
        *,
        resume: Callable[[Callable[[], ReopenedRun], bool], object],
        changed: Callable[[], object],
    ) -> None:
        self._scene = scene
        self._grids = grids
        self._store = store
        self._tasks = tasks
        self._resume = resume
        self._changed = changed
        self._read: tuple[object, UnfinishedRun | None] | None = None

    def find(self, segmentation_node: SegmentationNode) -> UnfinishedRun | None:
        """The unfinished run on a segmentation, after a crash or a closed scene. Takes 1 ms.

        One that was read before is read again only after something in its folder has changed.

        Returns
        -------
        UnfinishedRun or None
            None if there is none, if it is in progress, or if it cannot be read.
        """
        run_id = RunReference.read(segmentation_node).run_id
        held = self._store.acquire(run_id) if run_id else None
        if held is None:
            return None
        try:
            version = _version(held.path)
            if self._read is None or self._read[0] != version:
                self._read = (version, _unfinished_run(held))
            return self._read[1]
        finally:
            held.release()

    def resume(self, nodes: ChosenNodes) -> None:
        """Resume an unfinished run with the slices that are not finished.

        Parameters
        ----------
        nodes : ChosenNodes
            Their volume is used if that of the run was removed and loaded again.

        Raises
        ------
        InputError
            The run cannot be resumed; nothing was started or changed.
        """
        self._resume(partial(ReopenedRun.open, self._scene, nodes, self._store, self._grids), False)

    def commit(self, nodes: ChosenNodes) -> None:
        """Commit the finished slices of an unfinished run and delete it; otherwise as `resume`."""
        self._resume(partial(ReopenedRun.open, self._scene, nodes, self._store, self._grids), True)

    def delete(self, segmentation_node: SegmentationNode) -> None:
        """Delete the unfinished run on a segmentation and its finished slices."""
        unfinished = self.find(segmentation_node)
        if unfinished is not None:
            RunReference().write(segmentation_node)
            self._tasks.start(partial(self._store.delete, unfinished.run_id))
            self._changed()


def _unfinished_run(held: RunFolder) -> UnfinishedRun | None:
    try:
        prepared = PreparedRun.open(held.path)
        plan = prepared.plan
        finished = prepared.finished()[plan.query_slices]
        drafts = int(np.count_nonzero(prepared.drafts()[plan.query_slices] & finished))
        done = int(np.count_nonzero(finished))
        total = done if plan.live else len(finished)
        return UnfinishedRun(held.run_id, plan.job.engine, done, total, drafts) if total else None
    except InputError:
        return None


def _version(folder: Path) -> object:
    """A value that changes with every file in the folder."""
    files = []
    for path in sorted(folder.rglob("*")):
        with suppress(OSError):  # deleted meanwhile
            status = path.stat()
            files.append((str(path), status.st_mtime_ns, status.st_size))
    return files
