"""Further volumes in the panel: chosen in step 1, saved with the scene, given to the worker on their own grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.channels import on_one_grid
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.host.fill.preparation import prepare, read_input
from fewshot_annotate.host.mrml.grid_reader import GridReader
from support import slicer_standin
from support.panel import Panel
from support.saved_scenes import open_scene, save_scene
from support.scene_cases import Scene, add_volume, case, scene_of

slicer_standin.install()

import qt  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(name="scene")
def small_scene() -> Scene:
    """The vertebrae, with painted slices."""
    return scene_of(case("ct_vertebrae"))


def move(node: Any, millimetres: float) -> None:
    """Put a volume under a transform that moves it along the first axis."""
    matrix = np.eye(4)
    matrix[0, 3] = millimetres
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())


def ticked(panel: Panel) -> dict[str, bool]:
    """Whether each listed volume is ticked, by its name."""
    listed = panel.ui.furtherList
    items = [listed.item(row) for row in range(listed.count)]
    return {item.text(): item.checkState() == qt.Qt.Checked for item in items}


def test_further_volumes_are_ticked_in_step_1_and_saved_with_the_scene(
    scene: Scene, open_panel: Callable[..., Panel], tmp_path: Path
) -> None:
    panel = open_panel(scene)
    panel.ready()
    panel.ui.inputsSection.collapsed = False
    assert panel.ui.furtherList.isHidden()
    other = add_volume(case("ct_vertebrae").volume, "T2")
    panel.until(lambda: ticked(panel) == {"T2": False})
    assert not panel.ui.furtherList.isHidden()
    panel.ui.furtherList.item(0).setCheckState(qt.Qt.Checked)
    assert panel.widget.logic.chosenNodes().further == (other,)
    save_scene(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(False)
    slicer_standin.process_events(300)
    open_scene(tmp_path / "scene.mrb")
    panel.until(lambda: ticked(panel) == {"T2": True})
    (found,) = panel.widget.logic.chosenNodes().further
    assert found.GetName() == "T2"
    panel.parameters.volume = found
    panel.until(lambda: ticked(panel) == {"Volume": False})


def test_a_fill_uses_the_ticked_volume(scene: Scene, open_panel: Callable[..., Panel]) -> None:
    add_volume(case("ct_vertebrae").volume, "T2")
    panel = open_panel(scene)
    panel.ready()
    move(slicer.util.getNode("T2"), 9.0)
    panel.ui.furtherList.item(0).setCheckState(qt.Qt.Checked)
    panel.parameters.engine = "propagate"
    panel.fill()
    assert [text for text in panel.controller.warnings if text.startswith("Volume 2 covers ")]


def test_transforms_of_a_further_volume_are_applied(scene: Scene, tmp_path: Path) -> None:
    other = add_volume(case("ct_vertebrae").volume, "T2")
    origin = np.array(other.GetOrigin())
    other.SetOrigin(*(origin - (12.0, 0.0, 0.0)))
    move(other, 12.0)
    nodes = replace(scene.nodes, further=(other,))
    prepared = prepare(read_input(nodes, scene.settings(engine="propagate"), GridReader()), tmp_path / "run")
    volume = on_one_grid(prepared.folders[0].read_volume())
    np.testing.assert_array_equal(volume.further[0].array, volume.array)


def test_an_unusable_further_volume_is_refused_by_name(scene: Scene, tmp_path: Path) -> None:
    other = add_volume(case("ct_vertebrae").volume, "T2")
    nodes = replace(scene.nodes, further=(other,))
    with pytest.raises(InputError) as refused:
        read_input(nodes, scene.settings(engine="specialist"), GridReader())
    assert refused.value.code == "channels_unsupported"
    move(other, 5000.0)
    with pytest.raises(InputError, match="Volume 'T2': it lies beside the volume"):
        prepare(read_input(nodes, scene.settings(engine="propagate"), GridReader()), tmp_path / "run")
