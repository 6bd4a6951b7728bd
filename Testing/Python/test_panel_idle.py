"""An idle panel does nothing: it parses no JSON, reads no voxel, translates no text, sets no tool tip."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.host.annotation import annotations
from fewshot_annotate.host.mrml import reading
from fewshot_annotate.host.mrml.reading import set_locked
from support import slicer_standin
from support.panel import Panel
from support.scene_cases import Gate, case, scene_of

slicer_standin.install()

import qt  # noqa: E402
from fewshot_annotate.host import module_logic  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("reused_runs")

IDLE_MILLISECONDS = 700  # several ticks of the panel, and more than one check for an unfinished run


class Reads:
    """Counts parsed JSON texts and read labelmaps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parsed: list[str] = []
        self.labelmaps = 0
        self._count_calls(monkeypatch)

    def _count_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loads, image_array = json.loads, reading.image_array

        def counted_loads(text: str, **keywords: Any) -> Any:
            self.parsed.append(text[:80])
            return loads(text, **keywords)

        def counted_array(image: Any) -> np.ndarray:
            self.labelmaps += image.IsA("vtkOrientedImageData")
            return image_array(image)

        monkeypatch.setattr(json, "loads", counted_loads)
        monkeypatch.setattr(reading, "image_array", counted_array)

    def clear(self) -> None:
        self.parsed.clear()
        self.labelmaps = 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def panel(open_panel: Callable[..., Panel], reads: Reads) -> Panel:
    """The panel on a segmentation whose segments share one labelmap."""
    opened = open_panel(scene_of(case("ct_vertebrae")))
    opened.ready()
    settle(opened)
    return opened


def settle(panel: Panel) -> None:
    """Wait until nothing is under way."""
    panel.until(lambda: not panel.widget.busy)


def require_idle(panel: Panel, reads: Reads) -> None:
    """Assert that nothing is read for several ticks."""
    settle(panel)
    panel.tick()
    reads.clear()
    slicer_standin.process_events(IDLE_MILLISECONDS)
    assert reads.parsed == []
    assert reads.labelmaps == 0


def test_an_idle_panel_parses_no_json_and_reads_no_voxel_before_and_after_a_fill(panel: Panel, reads: Reads) -> None:
    require_idle(panel, reads)
    panel.fill()
    assert reads.parsed
    assert reads.labelmaps
    panel.until(lambda: bool(panel.widget.logic.review.view.rows))
    require_idle(panel, reads)


def test_an_idle_panel_parses_no_json_while_a_run_waits_to_be_resumed(gate: Gate, panel: Panel, reads: Reads) -> None:
    gate.allow(2)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    panel.controller.suspend()
    panel.until(lambda: panel.ui.resumeButton.enabled)
    require_idle(panel, reads)
    assert panel.ui.resumeButton.enabled


def test_the_voxels_are_read_once_a_fill_after_its_commit(panel: Panel, reads: Reads) -> None:
    settle(panel)
    reads.clear()
    panel.fill()
    settle(panel)
    assert reads.labelmaps == 1


def test_accepting_and_flagging_read_no_voxel(panel: Panel, reads: Reads) -> None:
    panel.fill()
    settle(panel)
    review = panel.widget.logic.review
    first, second, *_ = (row.index for row in review.view.rows if row.needs_review)
    reads.clear()
    review.accept([first])
    review.flag([second])
    panel.until(lambda: review.accepted_slices == {first})
    settle(panel)
    assert reads.labelmaps == 0
    require_idle(panel, reads)


def test_voxels_are_read_once_after_a_stroke(panel: Panel, reads: Reads) -> None:
    scene, name = panel.scene, panel.scene.ids[0]
    mask = scene.array(name)
    mask[scene.labelled[1] + 1, 2:9, 3:8] = True
    settle(panel)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, name, scene.volume_node)
    layers = scene.node.GetSegmentation().GetNumberOfLayers()
    reads.clear()
    panel.until(lambda: len(panel.rows("slicesTable")) == len(scene.labelled) + 1)
    settle(panel)
    assert reads.labelmaps == layers
    require_idle(panel, reads)


def test_changes_of_other_attributes_read_no_voxel(panel: Panel, reads: Reads) -> None:
    reads.clear()
    panel.scene.node.SetAttribute("Of.Another.Module", "1")
    assert panel.widget.logic.annotations.survey.busy
    settle(panel)
    assert reads.labelmaps == 0


class ToolTipChanges(qt.QObject):
    """Counts the tool tips that are set on widgets."""

    def __init__(self, root: Any) -> None:
        super().__init__()
        self._count = 0
        for widget in (root, *root.findChildren(qt.QWidget)):
            widget.installEventFilter(self)

    @property
    def count(self) -> int:
        return self._count

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802 (as Qt calls it)
        self._count += event.type() == qt.QEvent.ToolTipChange
        return False


def test_an_idle_panel_sets_no_tool_tip_and_translates_nothing(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.fill()
    panel.until(lambda: bool(panel.widget.logic.review.view.rows))
    settle(panel)
    panel.tick()
    translated: list[str] = []
    monkeypatch.setattr(slicer.i18n, "translate", lambda context, text: translated.append(text) or text)
    changes = ToolTipChanges(panel.widget.parent)
    slicer_standin.process_events(IDLE_MILLISECONDS)
    assert changes.count == 0
    assert translated == []


TOOLS = ("dataset", "compare", "settings")
# What a tick calls of a closed section, as a process that it follows may be running.
CALLED_OF_CLOSED = {"busy", "in_background", "poll"}
READS = {"stat", "lstat", "open", "listdir", "scandir", "loads", "tr", "translate"}


class Work:
    """Records what the methods of a section do, as a profile function of Python (`sys.setprofile`).

    Attributes
    ----------
    entered : set of str
        Methods that were called from elsewhere.
    reads : list of str
        Reads of the disk, parsing of JSON and translations within them.
    """

    def __init__(self, section: Any) -> None:
        self.entered: set[str] = set()
        self.reads: list[str] = []
        self._section = section
        self._outermost: Any = None

    def clear(self) -> None:
        self.entered.clear()
        self.reads.clear()

    def __call__(self, frame: Any, event: str, function: Any) -> None:
        if self._outermost is None:
            if event == "call" and frame.f_locals.get("self") is self._section:
                self._outermost = frame
                self.entered.add(frame.f_code.co_name)
        elif event in ("call", "c_call"):
            name = frame.f_code.co_name if event == "call" else function.__name__
            self.reads += [name] if name in READS else []
        elif event == "return" and frame is self._outermost:
            self._outermost = None


@contextmanager
def profiled(section: Any) -> Iterator[Work]:
    """Record what a section does."""
    work = Work(section)
    sys.setprofile(work)
    try:
        yield work
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("name", TOOLS)
def test_a_closed_tool_is_idle_and_up_to_date_once_opened(panel: Panel, name: str) -> None:
    header, section = getattr(panel.ui, f"{name}Section"), getattr(panel.widget, f"{name}Section")
    others = [other for other in TOOLS if other != name]
    panel.widget.parent.show()
    panel.widget.accordion.open("tools")
    for other in others:
        getattr(panel.ui, f"{other}Section").collapsed = False
    settle(panel)
    changes = ToolTipChanges(header)
    with profiled(section) as work:
        panel.parameters.segmentation = None  # now no comparison can be started
        slicer_standin.process_events(IDLE_MILLISECONDS)
        assert work.entered <= CALLED_OF_CLOSED
        assert work.reads == []
        assert changes.count == 0
        header.collapsed = False
        slicer_standin.process_events(IDLE_MILLISECONDS)
        assert "show_controls" in work.entered
    if name == "compare":
        assert changes.count > 0
    if name == "settings":
        assert "scandir" in work.reads or "listdir" in work.reads
    assert [other for other in others if not getattr(panel.ui, f"{other}Section").collapsed] == []


def test_tools_set_no_tool_tip_until_they_are_opened(panel: Panel) -> None:
    section = panel.ui.compareSection
    assert panel.ui.toolsSection.collapsed
    changes = ToolTipChanges(section)
    panel.parameters.segmentation = None
    slicer_standin.process_events(IDLE_MILLISECONDS)
    assert changes.count == 0
    panel.widget.accordion.open("tools")
    section.collapsed = False
    assert changes.count > 0


def test_a_fill_is_written_then_shown_then_can_be_undone_each_in_a_tick_of_its_own(panel: Panel) -> None:
    node, table, undo = panel.scene.node, panel.widget.reviewSection.table, panel.ui.undoFillButton
    painted = reading.labels_version(node)
    after_ticks: list[tuple[bool, bool, bool]] = []
    original = panel.widget.logic.poll

    def poll(parameters: Any) -> None:
        """A tick begins with this; what is seen then was left by the tick before."""
        after_ticks.append((reading.labels_version(node) != painted, table.rowCount > 0, not undo.isHidden()))
        original(parameters)

    panel.widget.logic.poll = poll
    panel.fill()
    panel.until(lambda: after_ticks[-1] == (True, True, True))
    assert list(dict.fromkeys(after_ticks)) == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
    ]


def test_a_tick_reads_the_chosen_nodes_and_the_slices_of_the_segmentation_once(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.fill()
    settle(panel)
    calls = {"ticks": 0, "further_volumes": 0, "segments_left_out": 0}

    def count(owner: Any, name: str, key: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any) -> Any:
            calls[key] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, counted)

    count(panel.widget.logic, "poll", "ticks")
    count(module_logic, "further_volumes", "further_volumes")
    count(annotations, "segments_left_out", "segments_left_out")
    slicer_standin.process_events(IDLE_MILLISECONDS)
    panel.until(lambda: calls["ticks"] > 2)
    ticks = calls.pop("ticks")
    # Beside the ticks, the check for an unfinished run may read them.
    assert all(0 < count <= ticks + 3 for count in calls.values()), (ticks, calls)


def test_a_change_within_a_tick_is_seen_in_the_same_tick(panel: Panel) -> None:
    logic, scene = panel.widget.logic, panel.scene
    index = scene.between[0]
    with logic.readOnce():
        assert index not in logic.annotations.snapshot(scene.node).selection.labelled
        logic.annotations.change(scene.node, lambda record: record.with_slice(index, True))
        assert index in logic.annotations.snapshot(scene.node).selection.labelled
        assert logic.chosenNodes().segmentation is scene.node
        panel.parameters.segmentation = None
        assert logic.chosenNodes().segmentation is None
        panel.parameters.segmentation = scene.node
    set_locked(scene.node.GetSegmentation().GetSegment(scene.ids[0]), True)
    assert scene.ids[0] not in logic.annotations.snapshot(scene.node).selection.segment_ids
