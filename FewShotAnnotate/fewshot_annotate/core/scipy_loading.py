"""Loading of scipy in programs, in half of the usual time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import numpy as np

# Modules for developers, which scipy would load because numpy lists them.
_UNUSED = {"f2py", "testing"}


def load_scipy() -> None:
    """Import image processing of scipy without the documentation of its functions, as `python -OO` does.

    Otherwise scipy parses their docstrings to add a note to each, which nobody reads in a worker.
    """
    listed = [name for name in dir(np) if name not in _UNUSED]
    everything = [name for name in np.__all__ if name not in _UNUSED]
    with _replaced(inspect, getdoc=lambda _: None), _replaced(np, __all__=everything, __dir__=lambda: listed):
        import_module("scipy.ndimage")


@contextmanager
def _replaced(module: ModuleType, **attributes: object) -> Iterator[None]:
    before = {name: vars(module)[name] for name in attributes if name in vars(module)}
    vars(module).update(attributes)
    try:
        yield
    finally:
        vars(module).update(before)
