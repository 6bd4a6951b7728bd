"""Segments that a fill leaves out, locked, hidden or without paint: they are named with the reason before it runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.host.annotation.annotations import SliceAnnotations
from support import slicer_standin
from support.effect import EffectEditor
from support.panel import Panel, tool_tip
from support.scene_cases import Gate

slicer_standin.install()

import qt  # noqa: E402
import slicer  # noqa: E402
from fewshot_annotate.host.effect.registration import register_effect  # noqa: E402
from fewshot_annotate.host.panel.widgets import show_error  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("reused_runs")


@pytest.fixture
def panel(panel: Panel) -> Panel:
    """The panel on the vertebrae, ready to fill."""
    panel.ready()
    return panel


def hide(panel: Panel, name: str, hidden: bool = True) -> None:
    """Hide a segment, as the eye in the segment list does, or show it."""
    panel.scene.node.GetDisplayNode().SetSegmentVisibility(name, not hidden)


def test_segments_that_will_not_be_filled_are_named_with_the_reason_before_the_fill(panel: Panel) -> None:
    first = panel.scene.ids[0]
    panel.scene.node.GetSegmentation().AddEmptySegment("bare", "bare")
    panel.check("segmentsTable", 0, 4, True)
    panel.until(lambda: panel.status.endswith("bare (nothing painted)."))
    assert panel.status == f"Fill leaves out: {first} (locked), bare (nothing painted)."
    panel.check("segmentsTable", 0, 4, False)
    panel.check("segmentsTable", 0, 0, False)
    panel.until(lambda: panel.status == f"Fill leaves out: {first} (not ticked), bare (nothing painted).")


def test_a_name_that_looks_like_html_is_shown_as_it_is(panel: Panel) -> None:
    name = "<b>liver</b> & <i>spleen</i>"
    panel.scene.node.GetSegmentation().AddEmptySegment("bare", name)
    table = panel.ui.segmentsTable

    def tips() -> list[str]:
        shown = [table.item(row, column) for row in range(table.rowCount) for column in range(table.columnCount)]
        return [qt.QTextDocumentFragment.fromHtml(item.toolTip()).toPlainText() for item in shown if item is not None]

    panel.until(lambda: name in tips())
    labels = panel.widget.parent.findChildren(qt.QLabel)
    written = [label for label in labels if label.wordWrap and "<span" not in label.text]
    assert len(written) > 10
    assert {label.textFormat for label in written} == {qt.Qt.PlainText}
    show_error(InputError("review_overlap", segment=name))
    assert name in slicer_standin.dialogs().texts[-1]


def test_a_hidden_segment_is_named_and_unchanged_and_filled_once_it_is_shown(panel: Panel) -> None:
    name, other = panel.scene.ids
    before = panel.scene.arrays()
    hide(panel, name)
    assert panel.status == f"Fill leaves out: {name} (hidden)."
    assert panel.ui.segmentsTable.item(0, 0).toolTip().startswith("Hidden: it is not filled.")
    panel.fill()
    after = panel.scene.arrays()
    np.testing.assert_array_equal(after[name], before[name])
    assert not (after[other] & before[name]).any()
    assert after[other].sum() > before[other].sum()
    panel.until(lambda: not panel.widget.logic.busy)
    assert panel.status.splitlines()[-1] == f"Fill leaves out: {name} (hidden)."
    hide(panel, other)
    assert panel.status.splitlines()[-1] == f"Fill leaves out: {name}, {other} (hidden)."
    assert tool_tip(panel.ui.fillButton).startswith("What is painted belongs to locked or hidden segments")
    hide(panel, other, False)
    hide(panel, name, False)
    assert "hidden" not in panel.status
    panel.fill()
    assert panel.scene.array(name).sum() > before[name].sum()


def test_without_a_visible_segment_nothing_is_filled_and_the_bar_shows_the_reason(panel: Panel) -> None:
    for name in panel.scene.ids:
        hide(panel, name)
    assert not panel.ui.fillButton.enabled
    assert panel.status.splitlines() == [
        "What is painted belongs to locked or hidden segments; unlock or show one first.",
        f"Fill leaves out: {', '.join(panel.scene.ids)} (hidden).",
    ]
    panel.ui.segmentsTable.selectRow(0)
    assert tool_tip(panel.ui.onlyThisButton).startswith("Hidden:")


def test_a_segment_hidden_during_the_run_is_filled(gate: Gate, panel: Panel) -> None:
    gate.allow(2)
    before = panel.scene.arrays()
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    hide(panel, panel.scene.ids[0])
    gate.open()
    panel.until(lambda: panel.state == "IDLE")
    after = panel.scene.arrays()
    assert all(after[name].sum() > before[name].sum() for name in panel.scene.ids)


@pytest.fixture
def editor(panel: Panel) -> Iterator[EffectEditor]:
    """A Segment Editor with the effect chosen."""
    register_effect()
    panel.widget.parent.exit()
    opened = EffectEditor(panel)
    yield opened
    opened.close()
    slicer.qSlicerSegmentEditorEffectFactory.instance().unregister_all()


def test_the_effect_does_not_change_hidden_segments_and_names_them_too(editor: EffectEditor) -> None:
    name, other = editor.scene.ids
    before = editor.scene.arrays()
    hide(editor.panel, name)
    editor.until(lambda: editor.status == f"Fill leaves out: {name} (hidden).")
    editor.start()
    editor.finish()
    after = editor.scene.arrays()
    np.testing.assert_array_equal(after[name], before[name])
    assert after[other].sum() > before[other].sum()


def test_many_segments_left_out_for_one_reason_are_counted(panel: Panel) -> None:
    for number in range(9):
        panel.scene.node.GetSegmentation().AddEmptySegment(f"organ {number}", f"organ {number}")
    panel.until(lambda: panel.status == "Fill leaves out: organ 0 and 8 more (nothing painted).")


def test_painted_slices_of_hidden_segments_are_in_the_record_of_a_case(panel: Panel) -> None:
    panel.fill()
    panel.until(lambda: not panel.widget.logic.busy)
    annotations: SliceAnnotations = panel.widget.logic.annotations
    shown = annotations.label_history(panel.scene.nodes, "propagate")
    for name in panel.scene.ids:
        hide(panel, name)
    hidden = annotations.label_history(panel.scene.nodes, "propagate")
    assert hidden == shown
    assert shown is not None
    assert shown.axis == SliceAxis(0)
    assert shown.painted == tuple(panel.scene.labelled)
