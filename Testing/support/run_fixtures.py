"""Fixtures of tests of runs, loaded by `pytest_plugins`: runs that leave nothing behind, and a gate for workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import scene_cases
from support.reused_runs import python_that_reuses_runs
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


@pytest.fixture(scope="session")
def reusing_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python for workers of tests that begin after a fill: it runs each job once, then copies its result."""
    return python_that_reuses_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def reused_runs(reusing_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills of the panel are run by `reusing_python`, which is found as Slicer's Python is."""
    monkeypatch.setenv("PATH", f"{Path(reusing_python).parent}{os.pathsep}{os.environ['PATH']}")
