"""SuggestionFinder: the slice to paint next, computed by a worker process from the present labels."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from ...core.data_folder import data_folder
from ...core.errors import Message
from ...core.events import Failed, Finished
from ...core.storage import write_json
from ...engines.propagate.engine import Propagate
from ...jobs.run_folder import JobFolder
from ...jobs.suggestion_process import SuggestionProcess, names_path, read_suggestion
from ...jobs.suggestions import SuggestedSlice
from ..diagnostics.unexpected_errors import as_input_error
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid_reader import GridReader
from ..tasks import BackgroundTasks
from .preparation import FillSettings, RunInput, prepare, read_input
from .run_store import RunFolder, RunStore, delete_in_background, delete_orphaned_runs


class SuggestionFinder:
    """Suggests one slice at a time. No Qt; a timer calls `poll`.

    Parameters
    ----------
    grids : GridReader or None
        Reads the voxels of the segmentation.
    python : str
        Program that runs the worker.

    Attributes
    ----------
    result : SuggestedSlice or None
        The last suggestion; None before it, and if every slice is painted.
    error : Message or str or None
        Why nothing can be suggested.
    """

    def __init__(self, grids: GridReader | None = None, python: str = sys.executable) -> None:
        self.result: SuggestedSlice | None = None
        self.error: Message | str | None = None
        self._grids = grids or GridReader()
        self._python = python
        self._tasks = BackgroundTasks("Suggestion")
        self._held: RunFolder | None = None
        self._folder: JobFolder | None = None
        self._process: SuggestionProcess | None = None

    @property
    def busy(self) -> bool:
        """Whether a suggestion is being computed."""
        return self._held is not None

    def start(self, nodes: ChosenNodes, settings: FillSettings) -> None:
        """Start to compute a suggestion; a pending one is cancelled.

        Parameters
        ----------
        nodes : ChosenNodes
        settings : FillSettings
            Segments, axis, labelled slices and range are used; the engine is always `propagate`.

        Raises
        ------
        InputError
            The nodes cannot be used, or every slice of the range is painted.
        """
        self.reset()
        run_input = read_input(nodes, replace(settings, engine=Propagate.name), self._grids)
        store = RunStore(data_folder() / "suggestions")
        self._held = store.create()
        self._tasks.start(partial(delete_orphaned_runs, store))
        self._tasks.start(partial(_prepare, run_input, self._held), self._start_worker)

    def poll(self) -> bool:
        """Read the result; True if the computation has ended."""
        try:
            self._tasks.poll()
            return self._follow()
        except Exception as error:
            self._end()
            self.error = as_input_error(error)
        return True

    def reset(self) -> None:
        """Cancel the computation and clear its result."""
        self._end()
        self.result, self.error = None, None

    def close(self) -> None:
        """Release worker and thread."""
        self.reset()
        self._tasks.close()

    def _start_worker(self, folder: JobFolder) -> None:
        self._folder, self._process = folder, SuggestionProcess(folder, self._python)
        self._process.start()

    def _follow(self) -> bool:
        folder, process = self._folder, self._process
        if folder is None or process is None:
            return False
        process.poll()
        ending = process.ending
        if ending is None:
            return False
        if isinstance(ending, Finished):
            self.result = read_suggestion(folder)
        elif isinstance(ending, Failed):
            self.error = ending.content
        self._end()
        return True

    def _end(self) -> None:
        """Release folder and worker; the thread deletes the folder."""
        process, self._process = self._process, None
        held, self._held, self._folder = self._held, None, None
        self._tasks.cancel()
        delete_in_background(self._tasks, process, held)


def _prepare(run_input: RunInput, held: RunFolder) -> JobFolder:
    """Background part; touches no node."""
    prepared = prepare(run_input, held.path)
    names = [
        [(value, run_input.plan.names[segment_id]) for value, segment_id in enumerate(layer, start=1)]
        for layer in prepared.layers
    ]
    write_json(names_path(prepared.folders[0]), names)
    return prepared.folders[0]
