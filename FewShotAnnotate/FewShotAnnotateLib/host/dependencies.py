"""What the module needs from the application around it."""

from __future__ import annotations

from ..core.python_program import python_program


def worker_python() -> str:
    """Program that runs the worker."""
    return python_program()
