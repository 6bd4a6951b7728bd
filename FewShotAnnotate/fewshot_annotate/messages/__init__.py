"""Sentences of errors and notes for users of the Python API and for logs.

They name neither options of the command line nor buttons: `cli.messages` and `host.messages` do. Each says what was
given, what is wrong with it and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import Message
from ..core.text import printable, shortened
from .comparison import COMPARISON
from .details import DETAILS
from .files import FILES
from .installation import install_command
from .results import RESULTS
from .runs import RUNS
from .tasks import TASKS

# Code -> sentence.
SENTENCES = {**FILES, **RUNS, **TASKS, **RESULTS, **COMPARISON, **DETAILS}
# For a code without a sentence: one of another version, or of a part of the program that has its own sentences.
UNKNOWN = "This cannot be done ({code})."


def neutral_sentence(message: Message) -> str:
    """One line that says what a message means, whoever reads it."""
    return sentence(message, SENTENCES, UNKNOWN)


def sentence(message: Message | str, sentences: Mapping[str, str], unknown: str) -> str:
    """One line that says what a message means.

    Parameters
    ----------
    message : Message or str
        Messages among its data, such as the cause of an error, become sentences too, and the packages to install
        (`install`) the command that does. A sentence stays as it is.
    sentences : mapping of str to str
        Code -> sentence with placeholders for the data.
    unknown : str
        Sentence for a code that has none, or whose data do not fit, with the placeholder `code`.
    """
    if isinstance(message, str):
        return shortened(printable(message))
    data = {name: _placeholder_value(value, sentences, unknown) for name, value in message.data.items()}
    if "install" in data:
        data["install"] = install_command(str(data["install"]))
    try:
        text = sentences[message.code].format(**data)
    except (LookupError, ValueError, TypeError, AttributeError):  # of another version, or a faulty translation
        text = unknown.format(code=message.code)
    # A path may hold a line break; the sentence stays one line.
    return shortened(printable(" ".join(text.splitlines())))


def _placeholder_value(value: Any, sentences: Mapping[str, str], unknown: str) -> Any:
    """A value for a placeholder; messages become sentences, those of a list without their full stops."""
    if isinstance(value, list):
        return "; ".join(str(_placeholder_value(message, sentences, unknown)).rstrip(".") for message in value)
    return sentence(value, sentences, unknown) if isinstance(value, Message) else value
