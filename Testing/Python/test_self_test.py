"""The module's own self-test on the stand-in, with local data for Sample Data's, and the manual that it follows."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from support import mrml, slicer_standin
from support.data import load_case
from support.panel import Panel
from support.panel_themes import cut_texts
from support.saved_scenes import prepare_bundles

slicer_standin.install()

from fewshot_annotate.host.self_test.self_test import SelfTest  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

MANUAL = Path(__file__).parents[1] / "MANUAL.md"
BY_HAND = ", by hand"


class _SampleData(types.ModuleType):
    """Stand-in for Slicer's module SampleData: a local head instead of a download."""

    def __init__(self) -> None:
        super().__init__("SampleData")

        class SampleDataLogic:
            def downloadSample(self, name: str) -> Any:
                volume, _ = load_case("mni152")
                cut = np.ascontiguousarray(volume.array[::4, ::8, ::8])
                bright = cut * (60.0 / np.percentile(cut, 90))
                return mrml.add_volume(bright.astype(np.int16), (8, 8, 4), name=name)

            @staticmethod
            def registerCustomSampleDataSource(**what: Any) -> None:
                """Nothing is shown here."""

        self.SampleDataLogic = SampleDataLogic


def _titles() -> list[tuple[int, str, int]]:
    """Number, title and minutes of each step of the manual."""
    text = MANUAL.read_text(encoding="utf-8")
    found = re.findall(r"^## (\d+)\. (.+) \((\d+) minutes?\)$", text, re.MULTILINE)
    return [(int(number), title, int(minutes)) for number, title, minutes in found]


def test_the_manual_has_numbered_steps_of_twenty_minutes_each_with_an_expected_result() -> None:
    titles = _titles()
    assert [number for number, _, _ in titles] == list(range(1, len(titles) + 1))
    assert sum(minutes for _, _, minutes in titles) == 20
    steps = re.split(r"^## ", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(steps) == len(titles)
    assert all("**" in step for step in steps)


def test_the_self_test_takes_the_steps_of_the_manual_that_can_be_automated(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    volume = mrml.add_volume(np.zeros((20, 4, 4), np.int16))
    steps = SelfTest(panel.widget, None, volume).steps
    assert list(steps) == [title for _, title, _ in _titles() if not title.endswith(BY_HAND)]


@pytest.mark.timeout(1200)  # it takes a minute, of a busy machine several
def test_the_self_test_passes(
    open_panel: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", _SampleData())
    panel = open_panel()
    visited: list[str] = []

    def select(name: str) -> None:
        visited.append(name)
        parent = panel.widget.parent
        (parent.enter if name == "FewShotAnnotate" else parent.exit)()

    monkeypatch.setattr(slicer.util, "selectModule", select, raising=False)
    prepare_bundles(tmp_path)
    slicer.app.startupCompleted.emit()
    slicer.modules.FewShotAnnotateInstance.runTest()
    assert visited == ["FewShotAnnotate", *["Segmentations", "FewShotAnnotate"] * 3]
    slicer.qSlicerSegmentEditorEffectFactory.instance().unregister_all()


def test_the_example_is_ready_to_fill_in_one_click(
    open_panel: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", _SampleData())
    panel = open_panel()
    panel.click("exampleButton")
    assert panel.ui.exampleButton.isHidden()
    panel.ready()
    assert panel.ui.slicesTable.rowCount > 2


def test_the_bar_guides_through_the_example(
    open_panel: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", _SampleData())
    panel = open_panel()
    label = panel.ui.exampleLabel
    assert label.isHidden()
    panel.click("exampleButton")
    panel.ready()
    panel.until(lambda: label.text.startswith("Example, 1 of 4") and not label.isHidden())
    panel.picture("8_example", 400, 700)
    assert cut_texts(panel.widget.parent, 400) == []
    panel.parameters.engine = "propagate"
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: label.text.startswith("Example, 2 of 4"))
    panel.until(lambda: label.text.startswith("Example, 3 of 4"))
    panel.picture("8_example_filled", 400, 700)
    assert cut_texts(panel.widget.parent, 400) == []
    review = panel.widget.reviewSection
    panel.until(lambda: review.worst_button.enabled)
    review.worst_button.click()
    panel.until(lambda: review.accept_button.enabled)
    review.accept_button.click()
    panel.until(lambda: label.text.startswith("Example, 4 of 4"))
    panel.parameters.segmentation = None
    panel.until(label.isHidden)
    assert slicer_standin.dialogs().texts == []


def test_an_example_that_cannot_be_downloaded_is_reported_in_one_sentence(
    open_panel: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", None)
    panel = open_panel()
    panel.click("exampleButton")
    (text,) = slicer_standin.dialogs().texts
    assert text.startswith("The example cannot be downloaded")
    assert panel.parameters.segmentation is None
