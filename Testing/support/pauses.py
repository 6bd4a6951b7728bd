"""How long a step keeps the host busy."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def busy_seconds(step: Callable[[], object]) -> float:
    """Processor time of this thread in a step; other programs, and the garbage of earlier tests, do not count."""
    gc.disable()
    try:
        began = time.thread_time()
        step()
        return time.thread_time() - began
    finally:
        gc.enable()
