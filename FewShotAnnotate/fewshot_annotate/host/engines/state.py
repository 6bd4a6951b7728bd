"""EngineState: what the panel shows of an engine before it is started; determined in the background, without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from ...core.errors import Message
from ...engines.base import Engine
from ...engines.registry import engine_class, engine_names
from ...weights import catalog, store
from ...weights.catalog import Checkpoint
from ..tasks import BackgroundTasks

AUTO = "auto"
# Seconds a slice of the engines without weights, on two processor cores at 256 x 256 pixels (after the table in
# Resources/Documentation/benchmarks.md), and seconds that a run takes however few slices there are: starting Python,
# loading torch, the first fit.
BUILT_IN_SECONDS = {"propagate": 0.08, "adapt": 0.19}
START_SECONDS = {"propagate": 1.0, "adapt": 13.0}
WEIGHTS_START_SECONDS = 5.0
BUILT_IN_PIXELS = 256 * 256


class Readiness(Enum):
    """Whether an engine can run, and what it needs first."""

    READY = "ready"
    NEEDS_DOWNLOAD = "needs a download"
    NEEDS_INSTALL = "needs an installation"
    CANNOT_RUN = "cannot run here"


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """State of one engine on this computer.

    Attributes
    ----------
    name : str
        Name in the parameter node; `auto` for the best engine that can run here.
    engine : str
        Name of the engine, for `auto` of the chosen one.
    title, licence : str
        Of that engine.
    readiness : Readiness
    reason : Message or None
        Why it cannot run here; None for any other readiness.
    packages : tuple of str
        To install.
    checkpoints : tuple of Checkpoint
        To download.
    seconds_per_slice : float or None
        Approximate, on two processor cores; None if not measured.
    start_seconds : float
        Approximate, before the first slice.
    fixed_input_size : bool
        Whether it resizes slices to a size of its own, so that its time does not depend on their pixels.
    """

    name: str
    engine: str
    title: str
    licence: str
    readiness: Readiness
    reason: Message | None = None
    packages: tuple[str, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    seconds_per_slice: float | None = None
    start_seconds: float = 0.0
    fixed_input_size: bool = False

    @property
    def download_bytes(self) -> int | None:
        """Size of all downloads together; None if that of one is unknown."""
        sizes = [checkpoint.size for checkpoint in self.checkpoints]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def seconds(self, slices: int, pixels: int) -> float | None:
        """Approximate time for a number of slices of a number of pixels without a GPU; None if not measured."""
        if self.seconds_per_slice is None:
            return None
        return self.start_seconds + self.seconds_per_slice * slices * (
            1.0 if self.fixed_input_size else pixels / BUILT_IN_PIXELS
        )


def engine_state(name: str) -> EngineState:
    """State of an engine, or of the one that `auto` stands for. Imports it, which takes a while the first time."""
    engine = engine_class(name)
    packages, checkpoints = engine.missing_packages(), engine.missing_checkpoints()
    reason = engine.unavailable_reason()
    if engine.needs_model:  # only the fills of a data set have one
        packages, reason = (), Message("engine_for_data_sets")
    readiness = Readiness.READY
    if reason:
        readiness = Readiness.NEEDS_DOWNLOAD if checkpoints else Readiness.CANNOT_RUN
        readiness = Readiness.NEEDS_INSTALL if packages else readiness
    return EngineState(
        name=name,
        engine=engine.name,
        title=engine.title,
        licence=engine.licence,
        readiness=readiness,
        reason=reason if readiness is Readiness.CANNOT_RUN else None,
        packages=packages,
        checkpoints=checkpoints,
        seconds_per_slice=_seconds_per_slice(engine),
        start_seconds=WEIGHTS_START_SECONDS if engine.needs_weights else START_SECONDS.get(engine.name, 0.0),
        fixed_input_size=engine.needs_weights,
    )


class EngineStateMonitor:
    """States of all engines, kept up to date in the background. No Qt; a timer calls `poll`.

    Attributes
    ----------
    states : tuple of EngineState
        `auto` first; empty until the first refresh has ended.
    """

    def __init__(self) -> None:
        self.states: tuple[EngineState, ...] = ()
        self._tasks = BackgroundTasks("Engines")

    @property
    def busy(self) -> bool:
        """Whether a refresh is under way."""
        return self._tasks.has_pending_results

    def refresh(self) -> None:
        """Begin to determine the states again: something may have been installed, downloaded or deleted."""
        self._tasks.cancel()
        self._tasks.start(partial(_states, (AUTO, *engine_names())), self._found)

    def poll(self) -> bool:
        """Take over new states; True if they have changed."""
        before = self.states
        self._tasks.poll()
        return self.states != before

    def state(self, name: str) -> EngineState | None:
        """State of an engine; None if there is no such engine or nothing is known yet."""
        return next((state for state in self.states if state.name == name), None)

    def close(self) -> None:
        """Release the thread."""
        self._tasks.close()

    def _found(self, states: tuple[EngineState, ...]) -> None:
        self.states = states


def _states(names: Sequence[str]) -> tuple[EngineState, ...]:
    return tuple(engine_state(name) for name in names)


def _seconds_per_slice(engine: type[Engine]) -> float | None:
    if not engine.needs_weights:
        return BUILT_IN_SECONDS.get(engine.name)
    needs: dict[str, tuple[str, ...]] = getattr(engine, "checkpoints", {})
    for names in needs.values():
        checkpoints = [catalog.checkpoint(name) for name in names]
        used = next((checkpoint for checkpoint in checkpoints if store.is_ready(checkpoint)), checkpoints[0])
        if used.seconds_per_slice is not None:
            return used.seconds_per_slice
    return None
