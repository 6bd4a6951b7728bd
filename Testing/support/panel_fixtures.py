"""Fixtures of tests of the panel, loaded by `pytest_plugins`: panels are closed and nothing is left behind."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fewshot_annotate.host.fill.run_store import RunStore

from support import mrml, scene_cases, slicer_standin
from support.panel import Panel
from support.run_folders import active_runs
from support.scene_cases import Gate, Scene, case, scene_of

pytest_plugins = ("support.run_fixtures",)


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is left behind: no error in a slot, no folder, no thread, no error of VTK."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    slicer_standin.slot_errors.clear()
    slicer_standin.dialogs().clear()
    yield
    store = RunStore()
    scene_cases.wait_for_none(lambda: [*active_runs(store), *scene_cases.threads()])
    assert not slicer_standin.slot_errors
    scene_cases.require_quiet(capfd.readouterr())


@pytest.fixture
def open_panel(clean: None) -> Iterator[Callable[..., Panel]]:
    """Opens the panel on a scene; without one, on an empty scene."""
    opened: list[Panel] = []

    def open_on(scene: Scene | None = None) -> Panel:
        if scene is None:
            mrml.new_scene()
        opened.append(Panel(scene))
        return opened[-1]

    yield open_on
    for panel in opened:
        slicer_standin.close_module(panel.widget)
    mrml.clear_scene()


@pytest.fixture
def panel(open_panel: Callable[..., Panel]) -> Panel:
    """The panel on the vertebrae; a test file may have a fixture of this name of its own."""
    return open_panel(scene_of(case("ct_vertebrae")))


@pytest.fixture
def running(gate: Gate, panel: Panel) -> Panel:
    """A run of the panel, whose first two slices are finished."""
    gate.allow(2)
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    return panel


@pytest.fixture
def library() -> Iterator[dict[str, ModuleType]]:
    """Our modules as they were imported first, and after the test again: other tests hold their classes.

    For tests that reload the module; to be asked for last, so that all else is closed after it.
    """
    first = _own_modules()
    yield first
    second = _own_modules()
    # A thread cannot go on if a module disappears that it is about to import.
    assert second["fewshot_annotate.host.tasks"].wait_for_threads(scene_cases.WAIT_SECONDS)
    for name in second:
        del sys.modules[name]
    sys.modules.update(first)


def _own_modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.copy().items() if name.split(".")[0] == "fewshot_annotate"}
