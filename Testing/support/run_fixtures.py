"""Fixtures of tests of runs, loaded by `pytest_plugins`: runs that leave nothing behind, and a gate for workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import scene_cases
from support.scene_cases import Gate, Runs


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Lets workers write a given number of slices."""
    folder = tmp_path / "gate"
    folder.mkdir()
    return Gate(folder, monkeypatch)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Runs]:
    """Makes runners, closed before patches are undone; they may leave nothing behind, and VTK may report no error."""
    started = Runs(tmp_path)
    yield started
    started.finish()
    scene_cases.require_quiet(capfd.readouterr())
