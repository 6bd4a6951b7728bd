"""The Python executable that runs worker scripts."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def python_executable() -> str:
    """Path of `PythonSlicer` inside Slicer, else of the running Python interpreter."""
    executable = shutil.which("PythonSlicer")
    if executable:
        return executable
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    return "PythonSlicer"
