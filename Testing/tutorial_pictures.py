"""Make the pictures of the tutorial in Resources/Screenshots: the panel at each step on a real case.

The panel is drawn by the tests' stand-in for Qt, so the embedded Segment Editor is left out.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "FewShotAnnotate"), str(ROOT / "Testing")]
importlib.import_module("support")  # first: it provides the stand-ins that host code needs

from fewshot_annotate.export.request import Target  # noqa: E402
from fewshot_annotate.host.export.controller import ExportState  # noqa: E402
from support import slicer_standin  # noqa: E402
from support.panel import Panel  # noqa: E402
from support.scene_cases import case, scene_of  # noqa: E402

PICTURES = ROOT / "Resources" / "Screenshots"
CASE, NAME = "ct_liver", "Spleen"
STEP = 8
WIDTH, HEIGHT = 420, 640
ENGINE = "propagate"


def main() -> None:
    """Fill a case in the panel and save a picture of each step."""
    scene = scene_of(case(CASE, 1), step=STEP)
    scene.volume_node.SetName("CT")
    scene.node.SetName(NAME)
    scene.node.GetSegmentation().GetNthSegment(0).SetName(NAME)
    panel = Panel(scene)
    panel.parameters.engine = ENGINE
    panel.ui.segmentEditor.hide()
    panel.ready()
    panel.until(lambda: bool(panel.widget.logic.engines.states))
    picture(panel, "volume")
    panel.click("suggestButton")
    panel.until(lambda: not panel.widget.logic.suggestion.busy)
    picture(panel, "label")
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done > len(scene.between) // 3)
    picture(panel, "fill")
    panel.until(lambda: panel.state == "IDLE" and panel.widget.reviewSection.worst_button.enabled)
    review(panel)
    export(panel)
    slicer_standin.close_module(panel.widget)


def review(panel: Panel) -> None:
    """Accept the worst slice, flag the next, and select the one after."""
    section = panel.widget.reviewSection
    for button in (section.worst_button, section.accept_button):
        button.click()
    panel.until(lambda: bool(panel.widget.logic.review.accepted_slices))
    for button in (section.worst_button, section.flag_button, section.worst_button):
        button.click()
    slicer_standin.process_events(200)
    picture(panel, "review")


def export(panel: Panel) -> None:
    """Export to a file and show that it was verified."""
    section = panel.widget.exportSection
    section.target_box.setCurrentIndex(section.target_box.findData(str(Target.NIFTI)))
    section.path_edit.currentPath = "spleen.nii.gz"
    section.check_button.click()
    panel.until(lambda: section.export_button.enabled)
    section.export_button.click()
    panel.until(lambda: panel.widget.logic.export.state is ExportState.DONE)
    picture(panel, "export")


def picture(panel: Panel, step: str) -> None:
    """Save a picture of the panel with a step open."""
    parent = panel.widget.parent
    panel.widget.accordion.open(step)
    parent.show()
    for _ in range(2):  # heights follow the width
        slicer_standin.process_events(150)
        parent.resize(WIDTH, min(HEIGHT, parent.layout().sizeHint().height()))
    slicer_standin.process_events(150)
    assert parent.grab().save(str(PICTURES / f"tutorial_{step}.png"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the export's file is shown by its name alone
        main()
