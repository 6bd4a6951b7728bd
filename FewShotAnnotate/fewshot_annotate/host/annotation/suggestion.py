"""SuggestionFinder: the slice to paint next, computed in the background from the present labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from threading import Event

from ...core.errors import InputError
from ...engines.base import Stopped
from ...engines.propagate.engine import Propagate
from ...jobs.suggestions import SuggestedSlice, suggest_slices
from ..chosen_nodes import ChosenNodes
from ..fill.preparation import FillSettings, RunInput, read_input
from ..mrml.grid_reader import GridReader
from ..tasks import BackgroundTasks
from ..unexpected_errors import as_input_error


class SuggestionFinder:
    """Suggests one slice at a time. No Qt; a timer calls `poll`.

    Parameters
    ----------
    grids : GridReader or None
        Reads the voxels of the segmentation.

    Attributes
    ----------
    result : SuggestedSlice or None
        The last suggestion; None before it, and if every slice is painted.
    error : InputError or None
        Why nothing can be suggested.
    """

    def __init__(self, grids: GridReader | None = None) -> None:
        self.result: SuggestedSlice | None = None
        self.error: InputError | None = None
        self._grids = grids or GridReader()
        self._tasks = BackgroundTasks("FewShotAnnotateSuggestion")
        self._stop = Event()

    @property
    def busy(self) -> bool:
        """Whether a suggestion is being computed."""
        return self._tasks.awaited

    def start(self, nodes: ChosenNodes, settings: FillSettings) -> None:
        """Start to compute a suggestion; a pending one is cancelled.

        Parameters
        ----------
        settings : FillSettings
            Segments, axis, labelled slices and range are used; the engine is always `propagate`.

        Raises
        ------
        InputError
            The nodes cannot be used, or every slice of the range is painted.
        """
        self.reset()
        given = read_input(nodes, replace(settings, engine=Propagate.name), self._grids)
        self._stop = Event()
        self._tasks.start(partial(_suggest, given, self._stop), self._found)

    def poll(self) -> bool:
        """Fetch the result; True if the computation has ended."""
        try:
            return self._tasks.poll()
        except Exception as error:
            self.error = as_input_error(error)
        return True

    def reset(self) -> None:
        """Cancel the computation and clear its result."""
        self._stop.set()
        self._tasks.cancel()
        self.result, self.error = None, None

    def close(self) -> None:
        """Release the thread."""
        self.reset()
        self._tasks.close()

    def _found(self, result: SuggestedSlice | None) -> None:
        self.result = result


def _suggest(given: RunInput, stop: Event) -> SuggestedSlice | None:
    """Background part; touches no node."""
    layers = [layer for _, layer in given.painted.layers()]
    try:
        found = suggest_slices(given.painted.volume(), layers, given.plan.query_slices, 1, stop.is_set)
    except Stopped:
        return None
    return next(iter(found), None)
