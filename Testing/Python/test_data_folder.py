"""The user's data folder: one for weights, tasks and runs, with the package platformdirs or pip's copy of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fewshot_annotate.core.data_folder import HOME_VARIABLE, data_folder
from fewshot_annotate.datasets.task.library import library_folder
from fewshot_annotate.host.fill.run_store import RunStore
from fewshot_annotate.weights import store


@pytest.mark.parametrize("from_environment", [True, False])
def test_weights_tasks_and_runs_lie_in_one_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, from_environment: bool
) -> None:
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    if from_environment:
        monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
        assert data_folder() == tmp_path
    assert {store.folder().parent, RunStore().folder.parent, library_folder().parent} == {data_folder()}


def test_the_folder_is_the_same_where_platformdirs_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Slicer's Python, before any engine is installed."""
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    expected = data_folder()
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert data_folder() == expected
