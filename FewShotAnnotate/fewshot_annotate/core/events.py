"""Events that a worker reports about a run, one JSON object per line."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar

from .errors import FAILURES, Message, code_and_data, message_or_text
from .exit_codes import ExitCode
from .reading import DamagedContentError, decoding


class Stage(StrEnum):
    """Stage of a run."""

    FILLING = "filling"
    DRAFTING = "drafting"
    REFINING = "refining"


@dataclass(frozen=True)
class Event:
    """Base class of events; `kind` is the name in JSON."""

    kind: ClassVar[str]

    def is_valid(self) -> bool:
        """Whether the values are possible, beyond their types."""
        return True

    def to_line(self) -> str:
        """One ASCII line of JSON, without a line break."""
        return json.dumps({"event": self.kind, **asdict(self)}, ensure_ascii=True)


@dataclass(frozen=True)
class Started(Event):
    """The worker has started; the host compares version and path with its own."""

    kind = "started"
    pid: int
    version: str
    path: str

    def is_valid(self) -> bool:
        """The host may kill this process, so its id must be neither a process group nor init."""
        return self.pid >= 2


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Progress of a run.

    Attributes
    ----------
    done : int
        Number of finished slices, drafts included; these are kept if the run is cancelled.
    total : int
    eta : float or None
        Estimated remaining time in seconds, None if unknown.
    fraction : float
        Fraction of the work that is done, 0..1; never decreases during a run.
    drafts : int
        Number of drafts among `done`, to be replaced by better slices; 0 for engines without drafts.
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

    def is_valid(self) -> bool:
        """Whether the fraction is at most 1 and the stage exists."""
        return self.fraction <= 1 and self.stage in tuple(Stage)

    @property
    def done_in_stage(self) -> int:
        """Number of slices that the current stage has finished."""
        return self.done - self.drafts if self.stage == Stage.REFINING else self.done


@dataclass(frozen=True)
class SliceDone(Event):
    """The slice of this index was written; a draft is replaced later."""

    kind = "slice"
    index: int
    draft: bool = False


@dataclass(frozen=True)
class RequestTaken(Event):
    """The live worker has started on the request of this number; the slices that follow belong to it."""

    kind = "request"
    number: int


@dataclass(frozen=True)
class Expected(Event):
    """Expected Dice of a label, as in `ExpectedDice`; replaces an earlier event for the label."""

    kind = "expected"
    label: int
    dice: float
    low: float
    high: float

    def is_valid(self) -> bool:
        """Whether the Dice lies in the interval."""
        return self.low <= self.dice <= self.high <= 1


@dataclass(frozen=True)
class Warned(Event):
    """A warning for the user; the run continues.

    Attributes
    ----------
    message : str
        One sentence for users of the Python API.
    code : str
    data : dict or None
        With `code` what a `Message` holds; None in events of version 0.1.
    """

    kind = "warning"
    message: str
    code: str = ""
    data: dict[str, Any] | None = None

    @classmethod
    def of(cls, content: Message | str) -> Warned:
        """The warning of a message, or of a sentence from an engine that has no messages."""
        return cls(str(content), **code_and_data(content))

    @property
    def content(self) -> Message | str:
        """The message; the sentence itself of an event without a code."""
        return message_or_text(self.message, self.code, self.data)


@dataclass(frozen=True)
class Finished(Event):
    """All slices were written; if only drafts were requested, all drafts."""

    kind = "finished"
    seconds: float


@dataclass(frozen=True)
class Cancelled(Event):
    """The run was cancelled; finished slices are kept."""

    kind = "cancelled"


@dataclass(frozen=True)
class Failed(Event):
    """The run stopped on an error; finished slices are kept.

    Attributes
    ----------
    reason : str
        One sentence for users of the Python API.
    code : str
        That of a `Message`; empty in events of version 0.1 about errors that the input did not cause.
    data : dict or None
        Data of the message; None in events of version 0.1.
    """

    kind = "failed"
    reason: str
    code: str = ""
    data: dict[str, Any] | None = None

    @classmethod
    def of(cls, content: Message | str) -> Failed:
        """The event for a message, or for a sentence from a worker of version 0.1."""
        return cls(str(content), **code_and_data(content))

    @property
    def content(self) -> Message | str:
        """The message; the sentence itself of an event without a code."""
        return message_or_text(self.reason, self.code, self.data)

    @property
    def is_bad_input(self) -> bool:
        """Whether the input is the cause."""
        return self.code not in ("", *FAILURES)


class Unfinished(Exception):  # noqa: N818 (no error: an ending)
    """Raised when a run ends before its last slice; `ending` is its last event."""

    def __init__(self, ending: Event) -> None:
        self.ending = ending


ENDINGS = (Finished, Cancelled, Failed)


def exit_code_of(ending: Event) -> ExitCode:
    """Exit code of a process whose run ended with this event."""
    if isinstance(ending, Failed):
        return ExitCode.BAD_INPUT if ending.is_bad_input else ExitCode.FAILED
    return ExitCode.CANCELLED if isinstance(ending, Cancelled) else ExitCode.DONE


_KINDS: dict[str, type[Event]] = {
    kind.kind: kind
    for kind in (Started, Progress, SliceDone, RequestTaken, Expected, Warned, Finished, Cancelled, Failed)
}
_MAX_NUMBER = 2**31 - 1


def event_from_line(line: str) -> Event | None:
    """Parse a line as an event; None if it is not one (truncated, other output, another version)."""
    try:
        with decoding():
            data = json.loads(line)
            kind = _KINDS[data.pop("event")]
            event = kind(**data)
    except DamagedContentError:
        return None
    fields = kind.__annotations__.items()
    if not all(_matches_annotation(getattr(event, name), str(annotation)) for name, annotation in fields):
        return None
    return event if event.is_valid() else None


def _matches_annotation(value: object, annotation: str) -> bool:
    """Whether a JSON value has the type of an event's field."""
    if annotation == "str":
        return isinstance(value, str)
    if annotation == "bool":
        return isinstance(value, bool)
    if value is None:
        return annotation.endswith("| None")
    if annotation.startswith("dict"):
        return isinstance(value, dict)
    if isinstance(value, bool) or not isinstance(value, int if annotation == "int" else (int, float)):
        return False
    return 0 <= value <= _MAX_NUMBER and math.isfinite(value)
