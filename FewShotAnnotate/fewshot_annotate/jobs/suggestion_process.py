"""SuggestionProcess: the host's interface to the worker that finds the slice to label next."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError, Message
from ..core.reading import DamagedContentError, read_json_as
from .process import WorkerProcess
from .run_folder import JobFolder
from .suggestions import SuggestedSlice


class SuggestionProcess(WorkerProcess):
    """Worker that suggests a slice; started, polled and cancelled like the worker of a run."""

    script: ClassVar[Path] = Path(__file__).resolve().with_name("suggestion_worker.py")
    failure_advice: ClassVar[Message] = Message("suggestion_can_be_repeated")


def names_path(folder: JobFolder) -> Path:
    """File in which the host writes the names of the segments: a list of pairs of label and name for each layer."""
    return folder.path / "names.json"


def suggestion_path(folder: JobFolder) -> Path:
    """File in which the worker writes the suggestion."""
    return folder.path / "suggestion.json"


def read_suggestion(folder: JobFolder) -> SuggestedSlice | None:
    """The worker's suggestion; None if every slice is labelled.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    path = suggestion_path(folder)
    try:
        suggestions = read_json_as(path, lambda content: [SuggestedSlice.from_json(entry) for entry in content])
    except (OSError, DamagedContentError):
        raise InputError("job_folder_unreadable", path=path, detail=Message("result_damaged")) from None
    return next(iter(suggestions), None)
