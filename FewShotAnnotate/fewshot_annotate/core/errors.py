"""Message: a code with data, of which each user interface makes a sentence; InputError: one that is raised."""

from __future__ import annotations

import math
from numbers import Integral, Real

TYPE_CHECKING = False  # typing itself would be the longest import of all before Ctrl+C is handled
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, Self

# Errors that the input does not cause.
FAILURES = frozenset(
    (
        "output_kept_elsewhere",
        "output_folder_absent",
        "engine_results_missing",
        "no_engine_finished",
        "run_folder_failed",
        "run_memory_short",
        "worker_failed",
        "worker_absent",
        "worker_not_started",
        "worker_other_version",
        "worker_other_copy",
        "worker_cannot_write",
        "worker_killed",
        "worker_crashed",
        "worker_exited",
    )
)
# Maximum nesting of messages, such as causes of errors; a file with deeper nesting is damaged.
MAX_MESSAGE_DEPTH = 10


class Message:
    """Message for the user, as a code with data. `str(message)` is one line: what, where, what to do.

    Parameters
    ----------
    code : str
        Names the sentence; the command line and the panel have a sentence of their own for it.
    **data
        Values for the placeholders of the sentence. One may be a message itself, such as the cause of an error, or a
        list of messages.
    """

    # This package holds no sentences; `fewshot_annotate/__init__.py` sets the function that formats a message.
    to_sentence: ClassVar[Callable[[Message], str]] = lambda message: message.code

    def __init__(self, code: str, **data: Any) -> None:
        self.code: str = code
        self.data: dict[str, Any] = data

    def __str__(self) -> str:
        return type(self).to_sentence(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}: {str(self)!r})"

    def with_data(self, **data: Any) -> Self:
        """The same message with other values for some placeholders."""
        return type(self)(self.code, **self.data | data)

    def to_json(self) -> dict[str, Any]:
        """Code and data as plain data for JSON."""
        return {"code": self.code, "data": {name: _to_json(value) for name, value in self.data.items()}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Message:
        """The message that `to_json` wrote."""
        return _message_from_json(content, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and (self.code, self.data) == (other.code, other.data)

    def __hash__(self) -> int:
        return hash(self.code)


class InputError(Message, ValueError):
    """Input that cannot be used."""


def code_and_data(content: Message | str) -> dict[str, Any]:
    """Code and data of a message as plain data; none for a sentence, which version 0.1 stored instead."""
    return content.to_json() if isinstance(content, Message) else {}


def message_or_text(text: str, code: str, data: Mapping[str, Any] | None) -> Message | str:
    """The inverse of `code_and_data`: the message, of which each user interface makes its sentence; else the text."""
    return text if data is None else Message.from_json({"code": code, "data": data})


def _to_json(value: Any) -> Any:
    if isinstance(value, Message):
        return value.to_json()
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) and math.isfinite(value) else str(value)


def _message_from_json(content: Mapping[str, Any], depth: int) -> Message:
    message = Message(content["code"])
    message.data = {name: _from_json(value, depth + 1) for name, value in content["data"].items()}
    return message


def _from_json(value: Any, depth: int) -> Any:
    if depth > MAX_MESSAGE_DEPTH:
        return "..."
    if isinstance(value, list):
        return [_from_json(item, depth + 1) for item in value]
    if isinstance(value, dict) and isinstance(value.get("code"), str) and isinstance(value.get("data"), dict):
        return _message_from_json(value, depth)
    return value
