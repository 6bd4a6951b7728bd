"""Pictures of the panel in every step and theme, saved as artefacts; nothing is cut off at a width of 400 pixels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import slicer_standin
from support.panel import Panel
from support.panel_themes import THEMES, contrast, cut_texts, used_theme
from support.scene_cases import Gate, case, scene_of

slicer_standin.install()

import qt  # noqa: E402
from fewshot_annotate.core.expected_dice import ExpectedDice  # noqa: E402
from fewshot_annotate.host.panel.coverage import STRIP_HEIGHT_PIXELS, CoverageStrip, coverage_pixmap  # noqa: E402
from fewshot_annotate.host.panel.segments_table import FILL  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

NARROW = 400
ROOT = Path(__file__).parents[2]
PATHS = (ROOT / "FewShotAnnotate", ROOT / "Testing")


@pytest.fixture(params=THEMES)
def theme(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each theme in turn."""
    with used_theme(request.param):
        yield request.param


@pytest.mark.slow
def test_no_step_is_cut_in_a_narrow_panel_and_each_fits_into_its_height(
    theme: str, open_panel: Callable[..., Panel], gate: Gate
) -> None:
    panel = open_panel(scene_of(case("ct_liver", 1), step=5))
    accordion = panel.widget.accordion

    def take_picture(name: str, *steps: str) -> None:
        for step in steps:
            accordion.open(step)
            panel.picture(f"{name}_{step}_{theme}", NARROW, 700)
            assert cut_texts(panel.widget.parent, NARROW) == []
            needed = panel.widget.parent.layout().minimumSize().height()
            assert needed <= 700, (name, step, needed)

    panel.ready()
    panel.parameters.engine = "propagate"
    panel.until(lambda: panel.ui.engineList.count > 1)
    panel.click("suggestButton")
    panel.until(lambda: panel.widget.logic.suggestion.result is not None)
    take_picture("2_labelled", "volume", "label", "fill")
    gate.allow(4)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 4)
    take_picture("3_running", "label", "fill")
    panel.controller.run.process.kill()
    panel.until(lambda: panel.state == "STOPPED")
    take_picture("3_stopped", "fill")
    gate.open()
    panel.click("resumeButton")
    panel.until(lambda: panel.state == "IDLE" and not panel.widget.reviewSection.busy)
    slicer_standin.process_events(700)
    take_picture("4_filled", "label", "review", "export")
    accordion.open("tools")
    for name in ("dataset", "compare", "settings"):
        getattr(panel.ui, f"{name}Section").collapsed = False
        take_picture(f"5_{name}", "tools")


def test_warnings_are_not_cut_in_a_narrow_panel(theme: str, open_panel: Callable[..., Panel]) -> None:
    panel = open_panel(scene_of(case("ct_vertebrae")))
    panel.ready()

    def take_picture(name: str, step: str) -> None:
        panel.widget.accordion.open(step)
        panel.picture(f"{name}_{theme}", NARROW, 700)
        assert cut_texts(panel.widget.parent, NARROW) == []

    panel.check("segmentsTable", 0, FILL, False)
    panel.scene.node.GetSegmentation().AddEmptySegment("bare", "bare")
    panel.until(lambda: "(not ticked), bare (nothing painted)" in panel.status)
    take_picture("6_not_filled", "fill")
    panel.check("segmentsTable", 0, FILL, True)
    panel.fill()
    review = panel.widget.reviewSection
    panel.until(lambda: review.has_filled and not review.busy and review.uncertainty_box.enabled)
    review.uncertainty_box.click()
    poor = {
        panel.scene.node.GetSegmentation().GetSegment(panel.scene.ids[0]).GetName(): ExpectedDice(1, 0.55, 0.4, 0.7)
    }
    panel.widget.logic.annotations.change(
        panel.scene.node, lambda record: record.with_along(0, replace(record.present, expected=poor))
    )
    panel.until(lambda: "expected Dice only 0.55" in review.expected_label.text)
    take_picture("7_poor_and_uncertain", "review")


def test_an_empty_scene_shows_where_to_begin(theme: str, open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    panel.until(lambda: panel.ui.engineList.count > 1)
    panel.picture(f"1_empty_{theme}", NARROW)
    assert cut_texts(panel.widget.parent, NARROW) == []


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["1.25", "1.5"])
def test_nothing_is_cut_on_a_scaled_display(scale: str) -> None:
    environment = {**os.environ, "QT_SCALE_FACTOR": scale, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    command = [sys.executable, "-m", "support.panel_scaled", f"scaled_{scale}", str(NARROW)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_the_strip_of_slices_is_visible_in_both_themes(theme: str) -> None:
    palette = qt.QApplication.palette()
    picture = coverage_pixmap(CoverageStrip(10, labelled=(2,), filled=(5,), current=9), 200, palette).toImage()
    low, middle = STRIP_HEIGHT_PIXELS - 4, STRIP_HEIGHT_PIXELS // 2
    background = picture.pixelColor(10, low)
    for x, y in ((0, middle), (50, middle), (110, low), (190, middle)):  # frame, labelled, filled, current
        assert contrast(picture.pixelColor(x, y), background) >= 3


def test_pictures_of_the_panel_are_taken(open_panel: Callable[..., Panel], gate: Gate) -> None:
    panel = open_panel(scene_of(case("ct_liver", 1), step=5))
    panel.ready()
    panel.widget.parent.show()
    sizes = {width: panel.picture("idle", width).width() for width in (460, 400)}
    assert sizes == {460: 460, 400: 400}
    gate.allow(4)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 4)
    panel.picture("running")
    panel.controller.run.process.kill()
    panel.until(lambda: panel.state == "STOPPED")
    panel.picture("stopped")
    panel.picture("stopped", 400)
    gate.open()
    panel.click("resumeButton")
    panel.until(lambda: panel.state == "IDLE")
    panel.picture("finished")
    panel.scene.node.CreateClosedSurfaceRepresentation()
    panel.scene.node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    panel.until(lambda: not panel.ui.fillButton.enabled)
    assert panel.status.startswith("Segmentation 'Segmentation' is stored as Closed surface")
    panel.picture("error")
