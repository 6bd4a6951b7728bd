"""SurfaceProcess: the host's end of a folder in which closed surfaces are made."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ...jobs.process import WorkerProcess


class SurfaceProcess(WorkerProcess):
    """One worker on one folder; started, polled and cancelled as the worker of a run."""

    script: ClassVar[Path] = Path(__file__).resolve().with_name("worker.py")
