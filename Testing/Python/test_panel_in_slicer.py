"""What Slicer's own application does to a panel: scenes opened and merged, its keys, start-up, unloading.

The stand-in behaves here as the genuine application was seen to behave.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import slicer
from support import slicer_standin
from support.panel import Panel
from support.saved_scenes import open_scene, save_scene
from support.scene_cases import case, scene_of

slicer_standin.install()

pytest_plugins = ("support.panel_fixtures",)


@pytest.fixture
def panel(open_panel: Callable[..., Panel]) -> Panel:
    """The panel on the vertebrae, ready to fill."""
    opened = open_panel(scene_of(case("ct_vertebrae")))
    opened.ready()
    return opened


# --- scenes


def require_shown(panel: Panel) -> None:
    """Selectors and editor show what the parameter node says."""
    ui, parameters = panel.ui, panel.parameters
    assert parameters.volume is not None
    assert ui.volumeSelector.currentNode() is parameters.volume
    assert ui.segmentationSelector.currentNode() is parameters.segmentation
    assert ui.segmentEditor.segmentationNode() is parameters.segmentation
    assert ui.segmentEditor.sourceVolumeNode() is parameters.volume


@pytest.mark.parametrize("suffix", ["mrb", "mrml"])
def test_a_scene_opened_while_the_panel_is_open_is_shown(panel: Panel, tmp_path: Path, suffix: str) -> None:
    labelled = panel.rows("slicesTable")
    save_scene(tmp_path / "saved" / f"scene.{suffix}")
    open_scene(tmp_path / "saved" / f"scene.{suffix}")
    assert panel.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == len(panel.scene.ids)
    require_shown(panel)
    panel.until(lambda: panel.rows("slicesTable") == labelled)


def test_a_scene_added_while_the_panel_is_open_brings_its_choice(panel: Panel, tmp_path: Path) -> None:
    save_scene(tmp_path / "saved" / "scene.mrml")
    slicer.mrmlScene.SetURL(str(tmp_path / "saved" / "scene.mrml"))
    assert slicer.mrmlScene.Import()
    assert panel.parameters.volume is not panel.scene.volume_node
    assert panel.ui.volumeSelector.nodeCount() == 2
    require_shown(panel)
    panel.ready()
