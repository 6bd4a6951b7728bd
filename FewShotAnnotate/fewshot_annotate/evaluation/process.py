"""ComparisonProcess: the worker process of a comparison, as the host starts, polls and cancels it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from ..core.errors import Message
from ..jobs.process import WorkerProcess
from .comparison_folder import ComparisonFolder


class ComparisonProcess(WorkerProcess):
    """The worker of one comparison.

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
        """The worker runs the trials with the same Python."""
        return ["--python", self._python]
