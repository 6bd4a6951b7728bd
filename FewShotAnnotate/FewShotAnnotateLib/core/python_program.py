"""The Python that runs scripts of ours in processes of their own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def python_program() -> str:
    """Slicer's own Python; outside Slicer the Python that runs this.

    Returns
    -------
    str
        Path of `PythonSlicer`, or of this Python where the program is one.
    """
    found = shutil.which("PythonSlicer")
    if found:
        return found
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    return "PythonSlicer"
