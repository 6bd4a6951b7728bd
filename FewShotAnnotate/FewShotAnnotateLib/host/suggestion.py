"""SuggestionFinder: which slice to paint next, worked out in the background from what is painted now."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from threading import Event
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.support import Support
from ..core.volume import Volume
from ..engines import engine_class
from ..engines.base import Stopped
from ..review.doubt import Doubt
from ..review.suggest import Suggestion, suggest
from .background import Background
from .preparation import FillSettings, RunInput, read_input, support_layers

# Quick, built in, and sure of itself only where it should be; what a fill uses may take minutes.
ENGINE = "propagate"


class SuggestionFinder:
    """Looks for one slice at a time. No Qt; a timer calls `tick`.

    Attributes
    ----------
    found : Suggestion or None
        What the last look found; None before it, and where every slice is painted.
    error : InputError or None
        Why nothing can be suggested.
    """

    def __init__(self) -> None:
        self.found: Suggestion | None = None
        self.error: InputError | None = None
        self._background = Background("FewShotAnnotateSuggestion")
        self._looking: Future[Suggestion | None] | None = None
        self._stop = Event()

    @property
    def busy(self) -> bool:
        """Whether a look is under way."""
        return self._looking is not None

    def start(self, volume_node: Any, segmentation_node: Any, settings: FillSettings) -> None:
        """Begin to look; an earlier look is given up.

        Parameters
        ----------
        settings : FillSettings
            Segments, axis, labelled slices and range count; the engine is `propagate` whatever they say.

        Raises
        ------
        InputError
            The nodes cannot be used, or every slice of the range is painted.
        """
        self.forget()
        given = read_input(volume_node, segmentation_node, settings)
        names = {key: segmentation_node.GetSegmentation().GetSegment(key).GetName() for key in given.plan.segment_ids}
        self._stop = Event()
        self._looking = self._background.submit(_look, given, names, self._stop)

    def tick(self) -> bool:
        """Take what was found; True if a look has ended."""
        self._background.give_turn()
        if self._looking is None or not self._looking.done():
            return False
        looking, self._looking = self._looking, None
        try:
            self.found = looking.result()
        except InputError as error:
            self.error = error
        except MemoryError:
            self.error = InputError("host_memory")
        return True

    def forget(self) -> None:
        """Give up what is under way, and what was found."""
        self._stop.set()
        self.found, self.error, self._looking = None, None, None

    def close(self) -> None:
        """Release the thread."""
        self.forget()
        self._background.close()


def _look(given: RunInput, names: dict[str, str], stop: Event) -> Suggestion | None:
    """Background part; touches no node."""
    layers = support_layers(given)
    volume = Volume(given.image.on_grid(given.grid.geometry.shape), given.grid.geometry)
    volume.require_usable(f"Volume '{given.volume_name}'")
    try:
        doubts = [
            Doubt.of_probabilities(
                support, [names[name] for name in ids], _propagated(volume, support, given.plan.to_fill, stop)
            )
            for ids, support in layers
        ]
    except Stopped:
        return None
    return next(iter(suggest(Doubt.joined(doubts), 1)), None)


def _propagated(volume: Volume, support: Support, slices: list[int], stop: Event) -> Iterator[tuple[int, np.ndarray]]:
    engine = engine_class(ENGINE)()
    engine.prepare(volume, support)
    for index, probabilities in engine.predict(slices):
        if stop.is_set():
            raise Stopped
        yield index, probabilities
