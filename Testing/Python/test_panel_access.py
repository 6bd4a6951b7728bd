"""Accessibility of the panel: help at each step, tab order, names, and contrast."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import slicer_standin
from support.panel import Panel
from support.panel_themes import THEMES, contrast, used_theme
from support.scene_cases import case, scene_of

slicer_standin.install()

import ctk  # noqa: E402
import qt  # noqa: E402
from fewshot_annotate.host.panel.help_buttons import DOCUMENTATION, PAGES  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)

DOCUMENTS = Path(__file__).parents[2] / "Resources" / "Documentation"
MIN_CONTRAST = 4.5
SECTIONS = {"volume": "inputs", "label": "paint", "fill": "fill", "review": "review", "export": "export"}


@pytest.fixture(params=THEMES)
def theme(request: pytest.FixtureRequest) -> Iterator[str]:
    with used_theme(request.param):
        yield request.param


@pytest.fixture
def panel(open_panel: Callable[..., Panel]) -> Panel:
    panel = open_panel(scene_of(case("ct_liver", 1), step=5))
    panel.ready()
    panel.widget.parent.resize(420, 900)
    panel.widget.parent.show()
    return panel


def opened_sections(panel: Panel) -> Iterator[str]:
    """Open each step and then each tool; yields its name while it is open."""
    for step in SECTIONS:
        panel.widget.accordion.open(step)
        slicer_standin.process_events(150)
        yield step
    panel.widget.accordion.open("tools")
    for name in ("dataset", "compare", "settings"):
        getattr(panel.ui, f"{name}Section").collapsed = False
        slicer_standin.process_events(150)
        yield name
        getattr(panel.ui, f"{name}Section").collapsed = True


def heading_anchor(line: str) -> str:
    return line.lstrip("#").strip().lower().replace(" ", "-")


def test_each_step_has_a_question_mark_that_opens_its_page_of_the_documentation(panel: Panel) -> None:
    slicer_standin.dialogs().clear()
    buttons = panel.widget.help.buttons
    for name, page in PAGES.items():
        button = buttons[name]
        assert button.accessibleName.startswith("Help on ")
        button.click()
        assert slicer_standin.dialogs().opened_urls[-1] == f"{DOCUMENTATION}/{page}"
        file, _, anchor = page.partition("#")
        lines = (DOCUMENTS / file).read_text(encoding="utf-8").splitlines()
        assert anchor in {heading_anchor(line) for line in lines if line.startswith("#")}, page


def test_a_question_mark_lies_in_the_header_of_the_open_section(panel: Panel) -> None:
    for width in (420, 500):
        panel.widget.parent.resize(width, 900)
        for name in opened_sections(panel):
            section = getattr(panel.ui, f"{SECTIONS.get(name, name)}Section")
            button = panel.widget.help.buttons[section.objectName]
            assert button.isVisibleTo(panel.widget.parent)
            assert section.width - 30 < button.x + button.width <= section.width
            assert button.y + button.height < 24


def tab_chain(panel: Panel) -> list[Any]:
    """Visible controls in the order in which the Tab key reaches them, without those of the Segment Editor."""
    start, chain = panel.widget.uiWidget, []
    widget = start.nextInFocusChain()
    while widget is not start:
        tabbed = widget.focusPolicy.value & qt.Qt.TabFocus.value and widget.focusProxy() is None
        inside = start.isAncestorOf(widget) and not panel.ui.segmentEditor.isAncestorOf(widget)
        of_the_panel = not widget.objectName.startswith("qt_") and widget is not panel.ui.segmentEditor
        if tabbed and inside and of_the_panel and widget.isVisibleTo(start):
            chain.append(widget)
        widget = widget.nextInFocusChain()
    return chain


def is_before(panel: Panel, one: Any, other: Any) -> bool:
    """Whether a control is read before another one: above it, or on its left in the same row."""
    start = panel.widget.uiWidget
    first, second = one.mapTo(start, qt.QPoint(0, 0)), other.mapTo(start, qt.QPoint(0, 0))
    if one.isAncestorOf(other):
        return True
    if first.y() + one.height <= second.y() + 2:
        return True
    overlaps = first.y() < second.y() + other.height and second.y() < first.y() + one.height
    return bool(overlaps and first.x() <= second.x())


def described(widget: Any) -> str:
    return f"{type(widget).__name__} {widget.objectName or getattr(widget, 'text', '')}"


def test_the_tab_order_follows_the_layout_of_each_step(panel: Panel) -> None:
    for name in opened_sections(panel):
        chain = tab_chain(panel)
        wrong = [
            f"{name}: {described(one)} -> {described(other)}"
            for one, other in itertools.pairwise(chain)
            if not is_before(panel, one, other)
        ]
        assert wrong == []
        assert len(chain) > 3


def test_buttons_without_text_have_a_name_for_screen_readers(panel: Panel) -> None:
    for kind in (qt.QPushButton, qt.QToolButton):
        for button in panel.widget.uiWidget.findChildren(kind):
            own = not button.objectName.startswith("qt_") and not panel.ui.segmentEditor.isAncestorOf(button)
            browse = isinstance(button.parent(), ctk.ctkPathLineEdit)
            if own and not browse and not any(letter.isalpha() for letter in button.text):
                assert button.accessibleName, described(button)


def blended(colour: Any, background: Any) -> Any:
    """A colour that is partly transparent, as it is kinds on a background."""
    alpha = colour.alphaF()
    pairs = zip(colour.getRgbF()[:3], background.getRgbF()[:3], strict=True)
    return qt.QColor.fromRgbF(*(alpha * own + (1 - alpha) * below for own, below in pairs))


def text_pairs(widget: Any) -> Iterator[tuple[str, Any, Any]]:
    """Kind, foreground and background of the texts that a widget shows when it is enabled."""
    palette, roles = widget.palette, qt.QPalette
    if isinstance(widget, (qt.QPushButton, qt.QToolButton, qt.QComboBox)):
        yield "button", palette.color(roles.Active, roles.ButtonText), palette.color(roles.Active, roles.Button)
    elif isinstance(widget, (qt.QTableWidget, qt.QListWidget, qt.QTextEdit, qt.QLineEdit, qt.QSpinBox)):
        yield "text", palette.color(roles.Active, roles.Text), palette.color(roles.Active, roles.Base)
        if isinstance(widget, qt.QLineEdit) and widget.placeholderText:
            hint, base = (palette.color(roles.Active, role) for role in (roles.PlaceholderText, roles.Base))
            yield "hint", blended(hint, base), base
        if isinstance(widget, (qt.QTableWidget, qt.QListWidget)):
            for group in (roles.Active, roles.Inactive):
                yield "selected", palette.color(group, roles.HighlightedText), palette.color(group, roles.Highlight)
    elif isinstance(widget, (qt.QLabel, qt.QCheckBox)):
        yield "label", palette.color(roles.Active, roles.WindowText), palette.color(roles.Active, roles.Window)


def test_texts_stand_out_from_their_background_in_both_themes(theme: str, open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    kinds = set()
    for widget in panel.widget.uiWidget.findChildren(qt.QWidget):
        if panel.ui.segmentEditor.isAncestorOf(widget):
            continue
        assert "color" not in widget.styleSheet, described(widget)
        for kind, text, background in text_pairs(widget):
            kinds.add(kind)
            assert contrast(text, background) >= MIN_CONTRAST, (
                described(widget),
                kind,
                text.name(),
                background.name(),
            )
    assert kinds == {"button", "text", "hint", "selected", "label"}
