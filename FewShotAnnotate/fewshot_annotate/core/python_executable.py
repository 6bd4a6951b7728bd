"""The Python executable that runs worker scripts."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def python_executable() -> str:
    """Path of `PythonSlicer` inside Slicer, else of the running Python interpreter."""
    found = shutil.which("PythonSlicer")
    if found:
        return found
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    return "PythonSlicer"
