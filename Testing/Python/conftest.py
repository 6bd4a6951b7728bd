"""Fixtures that several files use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repository", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("repository")


@pytest.fixture
def awkward_path(tmp_path: Path) -> Path:
    """A folder whose name has a space and an accent."""
    folder = tmp_path / "deuxième étude"
    folder.mkdir()
    return folder
