"""Events: what a worker tells about a run, one JSON object a line."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import ClassVar


class Stage(StrEnum):
    """What a run is at."""

    FILLING = "filling"
    DRAFTING = "drafting"
    REFINING = "refining"


@dataclass(frozen=True)
class Event:
    """Base of all events; `kind` is their name in JSON."""

    kind: ClassVar[str]

    def makes_sense(self) -> bool:
        """Whether values of the right type are also possible ones."""
        return True

    def to_line(self) -> str:
        """One ASCII line of JSON, without a line break."""
        return json.dumps({"event": self.kind, **asdict(self)}, ensure_ascii=True)


@dataclass(frozen=True)
class Started(Event):
    """The worker runs; the host compares version and path with its own."""

    kind = "started"
    pid: int
    version: str
    path: str

    def makes_sense(self) -> bool:
        """The host may end this process: never a whole group, never init."""
        return self.pid >= 2


@dataclass(frozen=True)
class Progress(Event):
    """How far a run is.

    Attributes
    ----------
    done : int
        Slices that are finished, drafts among them: what a cancel keeps.
    total : int
    eta : float or None
        Expected remaining time in s, None if it is not known.
    fraction : float
        Part of all work that is done, 0..1; never falls within a run.
    drafts : int
        How many of `done` are drafts, to be replaced by better slices. Always 0 with an engine that makes none.
    stage : str
        One of `Stage`: filling, or drafting and then refining.
    """

    kind = "progress"
    done: int
    total: int
    eta: float | None
    fraction: float = 0.0
    drafts: int = 0
    stage: str = Stage.FILLING

    def makes_sense(self) -> bool:
        """The fraction is one, and the stage exists."""
        return self.fraction <= 1 and self.stage in tuple(Stage)

    @property
    def counted(self) -> int:
        """Slices with which the stage at hand is through."""
        return self.done - self.drafts if self.stage == Stage.REFINING else self.done


@dataclass(frozen=True)
class SliceDone(Event):
    """The slice of this index is written; a draft is written again later."""

    kind = "slice"
    index: int
    draft: bool = False


@dataclass(frozen=True)
class Expected(Event):
    """The Dice that the engine expects of a label, see `ExpectedDice`; a later one takes its place."""

    kind = "expected"
    label: int
    dice: float
    low: float
    high: float

    def makes_sense(self) -> bool:
        """The range is one, and the Dice lies in it."""
        return self.low <= self.dice <= self.high <= 1


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should know; the run goes on."""

    kind = "warning"
    message: str


@dataclass(frozen=True)
class Finished(Event):
    """All slices are written; if only drafts were asked for, all that the engine drafts."""

    kind = "finished"
    seconds: float


@dataclass(frozen=True)
class Cancelled(Event):
    """The run stopped because it was asked to; finished slices are kept."""

    kind = "cancelled"


@dataclass(frozen=True)
class Failed(Event):
    """The run stopped on an error; finished slices are kept. `code` is that of an `InputError`, or empty."""

    kind = "failed"
    reason: str
    code: str = ""


ENDINGS = (Finished, Cancelled, Failed)
_KINDS: dict[str, type[Event]] = {
    kind.kind: kind for kind in (Started, Progress, SliceDone, Expected, Warned, Finished, Cancelled, Failed)
}
_LARGEST = 2**31 - 1


def event_from_line(line: str) -> Event | None:
    """The event on a line, or None if the line is no event (torn, foreign output, another program's version)."""
    try:
        data = json.loads(line)
        kind = _KINDS[data.pop("event")]
        event = kind(**data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    fields = kind.__annotations__.items()
    if not all(_fits(getattr(event, name), str(annotation)) for name, annotation in fields):
        return None
    return event if event.makes_sense() else None


def _fits(value: object, annotation: str) -> bool:
    """Whether a value from JSON is what a field of an event holds."""
    if annotation == "str":
        return isinstance(value, str)
    if annotation == "bool":
        return isinstance(value, bool)
    if value is None:
        return annotation == "float | None"
    if isinstance(value, bool) or not isinstance(value, int if annotation == "int" else (int, float)):
        return False
    return 0 <= value <= _LARGEST and math.isfinite(value)
