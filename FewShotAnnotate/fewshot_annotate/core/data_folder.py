"""The user's data folder: weights, the library of tasks, runs and logs lie below it."""

from __future__ import annotations

import os
from pathlib import Path

# Environment variable that names another folder.
HOME_VARIABLE = "FEWSHOT_ANNOTATE_HOME"


def data_folder() -> Path:
    """The user's data folder; it need not exist."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named)
    try:
        from platformdirs import user_data_path
    except ImportError:  # In Slicer, before any engine is installed. pip, which Slicer brings, carries a copy.
        from pip._vendor.platformdirs import user_data_path  # type: ignore[assignment]
    return user_data_path("FewShotAnnotate", appauthor=False)
