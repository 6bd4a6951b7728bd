"""ComparisonProcess: the host's end of a comparison folder; started, polled and cancelled as the worker of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from ..core.errors import Message
from ..jobs.process import WorkerProcess
from .comparison_folder import ComparisonFolder


class ComparisonProcess(WorkerProcess):
    """One worker on one comparison.

    Parameters
    ----------
    folder : ComparisonFolder
    python : str
        Program that runs the worker.
    """

    script: ClassVar[Path] = Path(__file__).resolve().with_name("worker.py")
    failure_advice: ClassVar[Message] = Message("comparison_can_be_repeated")

    def __init__(self, folder: ComparisonFolder, python: str = sys.executable) -> None:
        super().__init__(folder, python)

    def _options(self) -> list[str]:
        """Trials are run by the same program."""
        return ["--python", self._python]
