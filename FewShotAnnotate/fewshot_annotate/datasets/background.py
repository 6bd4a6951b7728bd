"""Background processes of a data set: one fills its cases, one trains its task. The host starts and polls them.

Each has a folder with `request.json` and the files of a `WorkFolder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..core.errors import InputError, Message
from ..core.events import Event, Expected, SliceDone
from ..core.reading import DamagedContentError, read_json_as
from ..core.storage import write_json
from ..jobs.process import WorkerProcess
from ..jobs.work_folder import WorkFolder


class RequestFolder(WorkFolder):
    """Folder of one background process."""

    @property
    def _request_path(self) -> Path:
        return self.path / "request.json"

    def concerns(self, event: Event) -> bool:
        """Whether an event can be about a data set: none is about a slice."""
        return not isinstance(event, (SliceDone, Expected))

    def write_request(self, request: Mapping[str, Any]) -> None:
        """Write the request; raises `InputError` if that fails."""
        write_json(self._request_path, dict(request))

    def read_request(self) -> dict[str, Any]:
        """The request; raises `InputError` if the file is missing or damaged."""
        try:
            return read_json_as(self._request_path, dict)
        except (OSError, DamagedContentError):
            raise InputError(
                "job_folder_unreadable", path=self.path, detail=Message("file_is_damaged", file="request.json")
            ) from None


class FillingProcess(WorkerProcess):
    """Fills those cases of a data set that the newest model of its task has not filled."""

    script: ClassVar[Path] = Path(__file__).resolve().with_name("filling_worker.py")
    failure_advice: ClassVar[Message] = Message("filling_can_be_continued")


class TrainingProcess(WorkerProcess):
    """Trains a model on the examples of a task."""

    script: ClassVar[Path] = Path(__file__).resolve().with_name("training_worker.py")
    failure_advice: ClassVar[Message] = Message("training_can_be_continued")


def filling_request(dataset: Path, device: str) -> dict[str, Any]:
    """Request to fill a data set."""
    return {"dataset": str(dataset), "device": device}


def training_request(task: Path, seconds: float, device: str) -> dict[str, Any]:
    """Request to train a task within a time limit."""
    return {"task": str(task), "seconds": seconds, "device": device}
