"""Fixtures that several files use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.processes import Spawned

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


@pytest.fixture
def spawned() -> Iterator[Spawned]:
    """Starts processes; none of them outlives the test."""
    with Spawned() as processes:
        yield processes
