"""Loading of torch, and its oldest release that will do."""

from __future__ import annotations

import gc
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from ..core.errors import Message

# In older releases, fused AdamW may be for CUDA only. Only the pinned release has been tested.
MIN_TORCH_VERSION = (2, 5)


def outdated_torch_message() -> Message | None:
    """The message that the installed torch is too old, if it is; a torch without metadata is accepted."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return None
    if tuple(int(component) for component in installed.split(".")[:2]) >= MIN_TORCH_VERSION:
        return None
    least = ".".join(map(str, MIN_TORCH_VERSION))
    return Message("needs_newer_torch", least=least, installed=installed, install="torch")


def load_torch() -> None:
    """Import torch; meanwhile Python does not search for garbage, of which there is none."""
    collected = gc.isenabled()
    gc.disable()
    try:
        import_module("torch")
    finally:
        if collected:
            gc.enable()
