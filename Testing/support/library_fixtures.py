"""Fixtures of tests of libraries of tasks, loaded by `pytest_plugins`: the user's data folder, and a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.batches import Dataset, make_dataset
from support.standin_engines import environment_with_standins, register


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder."""
    folder = tmp_path / "chez moi"
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(folder))
    return folder


@pytest.fixture
def dataset(home: Path, awkward_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dataset:
    """A data set without cases, and the stand-ins among the engines."""
    register(monkeypatch.setitem)
    for name, value in environment_with_standins(tmp_path).items():
        monkeypatch.setenv(name, value)
    return make_dataset(awkward_path)
