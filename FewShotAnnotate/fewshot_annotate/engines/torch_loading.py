"""Loading of torch."""

from __future__ import annotations

import gc
from importlib import import_module


def load_torch() -> None:
    """Import torch; meanwhile Python does not search for garbage, of which there is none."""
    collected = gc.isenabled()
    gc.disable()
    try:
        import_module("torch")
    finally:
        if collected:
            gc.enable()
