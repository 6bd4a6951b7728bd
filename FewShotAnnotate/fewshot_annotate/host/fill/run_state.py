"""State: what a fill controller is doing."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What the controller is doing."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPED = "stopped"  # the worker ended or failed; the run can be committed, deleted or resumed
    FINISHING = "finishing"  # the changes are computed, then written
