"""The Segment Editor effect on a stand-in for its base class: real MRML, the real worker, real cases."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import slicer
from support import slicer_standin
from support.effect import NAME, EffectEditor
from support.mrml import add_segmentation
from support.panel import Panel, tool_tip
from support.panel_themes import THEMES, used_theme
from support.scene_cases import Gate, all_equal, case, scene_of

slicer_standin.install()

from fewshot_annotate.host.effect.registration import register_effect  # noqa: E402

# Width of the column beside the effects in a Segment Editor of 400 pixels.
OPTIONS_WIDTH = 290

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def registered() -> Iterator[None]:
    """The effect is registered, as at the application's start."""
    register_effect()
    yield
    slicer.qSlicerSegmentEditorEffectFactory.instance().unregister_all()


@pytest.fixture
def open_editor(registered: None, open_panel: Callable[..., Panel]) -> Iterator[Callable[[], EffectEditor]]:
    """Opens the Segment Editor on a CT of vertebrae, with the effect chosen."""
    opened: list[EffectEditor] = []

    def open_with_effect() -> EffectEditor:
        panel = open_panel(scene_of(case("ct_vertebrae")))
        panel.widget.parent.exit()
        opened.append(EffectEditor(panel))
        return opened[-1]

    yield open_with_effect
    for editor in opened:
        editor.close()


@pytest.fixture
def editor(open_editor: Callable[[], EffectEditor]) -> EffectEditor:
    return open_editor()


@pytest.fixture
def running(gate: Gate, open_editor: Callable[[], EffectEditor]) -> EffectEditor:
    """A run started by the effect, whose first two slices are finished; the rest waits."""
    gate.allow(2)
    editor = open_editor()
    editor.start()
    editor.until(lambda: editor.panel.controller.progress.done == 2)
    gate.allow(2)
    return editor


def test_a_fill_by_the_effect_is_one_undo_step_of_that_editor(editor: EffectEditor) -> None:
    before, painted = editor.scene.arrays(), editor.scene.painted()
    editor.start()
    editor.finish()
    after = editor.scene.arrays()
    for name in editor.scene.ids:
        np.testing.assert_array_equal(after[name][editor.scene.labelled], painted[name][editor.scene.labelled])
        assert after[name][editor.scene.between].any()
    assert editor.status.startswith(f"{len(editor.scene.between)} slices filled.")
    assert (editor.editor.undo_states_saved, editor.panel.ui.segmentEditor.undo_states_saved) == (1, 0)
    editor.editor.undo()
    assert all_equal(editor.scene.arrays(), before)


def test_a_stroke_updates_the_preview_and_apply_commits_it_in_one_step(editor: EffectEditor) -> None:
    effect, controller = editor.effect, editor.panel.controller
    before = editor.scene.arrays()
    effect.liveCheckBox.click()
    editor.until(lambda: effect.keepButton.text == "Apply" and effect.statusLabel.text.startswith("Up to date."))
    assert all_equal(editor.scene.arrays(), before)
    outstanding: list[int] = []
    messages: list[str] = []
    controller.changed.connect(lambda: outstanding.append(controller.outstanding))
    controller.changed.connect(lambda: messages.append(controller.message))
    name, index = editor.scene.ids[0], editor.scene.labelled[1] + 2
    mask = editor.scene.array(name)
    mask[index, 2:9, 3:8] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), editor.scene.node, name, editor.scene.volume_node
    )
    editor.until(lambda: any(outstanding))
    editor.click("keepButton")
    editor.until(lambda: any(message.endswith("slices filled.") for message in messages))
    after = editor.scene.arrays()
    np.testing.assert_array_equal(after[name][index], mask[index])
    assert all(any(mask[other].any() for mask in after.values()) for other in editor.scene.between)
    assert editor.editor.undo_states_saved == 1
    effect.liveCheckBox.click()
    editor.finish()
    assert all_equal(editor.scene.arrays(), after)


def test_strokes_painted_while_live_updates_were_stopped_are_followed_after_resume(editor: EffectEditor) -> None:
    effect, controller = editor.effect, editor.panel.controller
    effect.liveCheckBox.click()
    editor.until(lambda: effect.statusLabel.text.startswith("Up to date."))
    controller.run.process.kill()
    editor.until(lambda: not effect.resumeButton.isHidden())
    name, index = editor.scene.ids[0], editor.scene.labelled[1] + 2
    mask = editor.scene.array(name)
    mask[index, 2:9, 3:8] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), editor.scene.node, name, editor.scene.volume_node
    )
    editor.until(lambda: not editor.panel.widget.logic.annotations.survey.busy)
    outstanding: list[int] = []
    controller.changed.connect(lambda: outstanding.append(controller.outstanding))
    editor.click("resumeButton")
    editor.until(lambda: any(outstanding) and effect.statusLabel.text.startswith("Up to date."))
    editor.click("cancelButton")


def test_updates_go_on_with_a_new_segment_and_leave_no_interrupted_run(editor: EffectEditor) -> None:
    effect, controller, scene = editor.effect, editor.panel.controller, editor.scene
    effect.liveCheckBox.click()
    editor.until(lambda: effect.statusLabel.text.startswith("Up to date."))
    scene.node.GetSegmentation().AddEmptySegment("new", "new")
    mask = np.zeros(scene.case.volume.geometry.shape, dtype=np.uint8)
    mask[scene.labelled[:2], :3, :3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, scene.node, "new", scene.volume_node)
    editor.until(lambda: controller.live and "new" in controller.run.plan.names)
    editor.until(lambda: effect.statusLabel.text.startswith("Up to date."))
    editor.click("cancelButton")
    effect.liveCheckBox.click()
    editor.until(lambda: not editor.panel.widget.logic.busy)
    assert controller.unfinished_runs.find(scene.node) is None


def test_updates_follow_the_editor_to_another_segmentation(editor: EffectEditor) -> None:
    effect, controller, scene = editor.effect, editor.panel.controller, editor.scene
    effect.liveCheckBox.click()
    editor.until(lambda: effect.statusLabel.text.startswith("Up to date."))
    node = add_segmentation(scene.volume_node, scene.painted())  # of the same ids
    scene.editor_node.SetAndObserveSegmentationNode(node)
    editor.until(lambda: controller.live and controller.run.segmentation_id == node.GetID())
    editor.until(lambda: effect.statusLabel.text.startswith("Up to date."))
    effect.liveCheckBox.click()
    editor.finish()


def test_the_mask_of_that_editor_is_respected(editor: EffectEditor) -> None:
    before = editor.scene.arrays()
    editor.scene.editor_node.SourceVolumeIntensityMaskOn()
    editor.scene.editor_node.SetSourceVolumeIntensityMaskRange(1e6, 2e6)
    editor.start()
    editor.finish()
    assert all_equal(editor.scene.arrays(), before)
    assert "left no room" in editor.status


def test_a_slice_painted_just_before_fill_is_pressed_is_kept(editor: EffectEditor) -> None:
    editor.until(lambda: editor.effect.fillButton.enabled)
    name, index = editor.scene.ids[0], editor.scene.labelled[1] + 2
    mask = editor.scene.array(name)
    mask[index, 2:9, 3:8] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), editor.scene.node, name, editor.scene.volume_node
    )
    editor.click("fillButton")
    editor.finish()
    np.testing.assert_array_equal(editor.scene.array(name)[index], mask[index])
    assert editor.status.startswith(f"{len(editor.scene.between) - 1} slices filled.")


def test_cancel_changes_nothing_and_keep_commits_finished_slices(running: EffectEditor) -> None:
    before = running.scene.arrays()
    running.until(lambda: 0 < running.effect.progressBar.value < running.effect.progressBar.maximum)
    for theme in THEMES:
        with used_theme(theme):
            slicer_standin.process_events(50)
            running.picture(f"running_{theme}")
    running.click("cancelButton")
    running.finish()
    assert running.status == "Cancelled; nothing was changed."
    assert all_equal(running.scene.arrays(), before)
    running.start()
    running.until(lambda: running.panel.controller.progress.done == 2)
    running.click("keepButton")
    running.until(lambda: not running.effect.keepButton.enabled)


def test_a_run_whose_worker_died_is_resumed_in_the_effect(gate: Gate, running: EffectEditor) -> None:
    assert running.effect.resumeButton.isHidden()
    running.panel.controller.run.process.kill()
    running.until(lambda: not running.effect.resumeButton.isHidden())
    assert running.status.endswith("finished slices are kept; press Resume to go on.")
    gate.open()
    running.click("resumeButton")
    running.finish()
    assert running.status.startswith(f"{len(running.scene.between)} slices filled.")
    assert running.effect.resumeButton.isHidden()
    assert running.editor.undo_states_saved == 1


def test_the_options_take_few_rows_beside_the_editor(gate: Gate, running: EffectEditor) -> None:
    row = running.effect.fillButton.height + 8
    assert running.options_height(OPTIONS_WIDTH) <= 5 * row
    running.panel.controller.run.process.kill()
    running.until(lambda: not running.effect.resumeButton.isHidden())
    assert running.options_height(OPTIONS_WIDTH) <= 7 * row  # the message takes several lines
    gate.open()
    running.click("cancelButton")
    running.finish()
    assert running.options_height(OPTIONS_WIDTH) <= 3 * row


@pytest.mark.parametrize("end", ["resumeButton", "keepButton", "cancelButton"])
def test_an_interrupted_run_is_resumed_kept_or_discarded_in_the_effect(
    gate: Gate, running: EffectEditor, end: str
) -> None:
    before, effect = running.scene.arrays(), running.effect
    running.panel.controller.suspend()
    logic = running.panel.widget.logic
    logic.controller.editor = logic.panelEditor  # as after a start of the application
    gate.open()
    running.until(lambda: "was interrupted: 2 of" in running.status)
    assert effect.cancelButton.text == "Discard"
    with used_theme("dark"):
        slicer_standin.process_events(50)
        running.picture("left_dark")
    running.picture("left")
    running.click(end)
    running.until(lambda: effect.resumeButton.isHidden() and effect.session().idle)
    assert effect.cancelButton.isHidden()
    filled = 0 if end == "cancelButton" else 1
    assert (running.editor.undo_states_saved, running.panel.ui.segmentEditor.undo_states_saved) == (filled, 0)
    assert all_equal(running.scene.arrays(), before) == (not filled)


def test_there_is_one_run_at_a_time_and_either_side_can_end_it(running: EffectEditor) -> None:
    reason = "Wait for the run to end, or cancel it."
    assert (running.effect.fillButton.enabled, tool_tip(running.effect.fillButton)) == (False, reason)
    running.panel.widget.parent.enter()
    running.panel.until(lambda: not running.panel.ui.fillButton.enabled)
    running.panel.click("cancelButton")
    running.until(lambda: running.effect.fillButton.enabled)
    assert tool_tip(running.effect.cancelButton) == "Nothing is running."


def test_a_run_continues_when_the_user_selects_another_effect(editor: EffectEditor) -> None:
    editor.start()
    editor.editor.setActiveEffectByName("Paint")
    editor.until(lambda: editor.panel.controller.message != "")
    assert editor.panel.controller.message == f"{len(editor.scene.between)} slices filled."


def test_a_run_continues_after_its_editor_was_deleted(editor: EffectEditor) -> None:
    editor.start()
    editor.close()
    editor.panel.widget.parent.enter()
    editor.panel.until(lambda: editor.panel.state == "IDLE" and editor.panel.controller.message != "")
    assert editor.panel.ui.segmentEditor.undo_states_saved == 1


def test_closing_the_scene_during_a_run_of_the_effect_ends_it(running: EffectEditor) -> None:
    slicer.mrmlScene.Clear(False)
    running.until(lambda: running.effect.cancelButton.isHidden())
    assert running.panel.state == "IDLE"
    assert tool_tip(running.effect.fillButton) == "Choose a volume first."


def test_what_is_missing_and_why_a_button_is_disabled_are_shown(editor: EffectEditor) -> None:
    segmentation = editor.scene.node.GetSegmentation()
    for name in editor.scene.ids:
        segmentation.RemoveSegment(name)
    segmentation.AddEmptySegment("empty", "empty")
    editor.until(lambda: editor.status == "Paint at least two slices first.")
    effect = editor.effect
    assert not effect.fillButton.enabled
    assert tool_tip(effect.fillButton) == "Paint at least two slices first."
    assert all(button.toolTip for button in (effect.keepButton, effect.cancelButton, effect.panelButton))


def test_the_module_works_on_what_the_editor_edits(editor: EffectEditor) -> None:
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    other.CreateDefaultDisplayNodes()
    editor.panel.parameters.segmentation = other
    editor.until(lambda: editor.panel.parameters.segmentation is editor.scene.node)
    editor.start()
    editor.finish()
    assert editor.status.startswith(f"{len(editor.scene.between)} slices filled.")


def test_the_panel_lists_what_was_painted_while_only_the_effect_was_open(editor: EffectEditor) -> None:
    editor.until(lambda: editor.effect.fillButton.enabled and not editor.panel.widget.polling)
    name, index = editor.scene.ids[0], editor.scene.labelled[1] + 2
    mask = editor.scene.array(name)
    mask[index, 2:9, 3:8] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), editor.scene.node, name, editor.scene.volume_node
    )
    editor.until(lambda: str(index) in [row[0] for row in editor.panel.rows("slicesTable")], 20.0)


def test_a_button_opens_the_full_panel(editor: EffectEditor, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append, raising=False)
    editor.click("panelButton")
    assert opened == ["FewShotAnnotate"]


def test_the_effect_works_after_a_reload_of_the_module(editor: EffectEditor, library: dict[str, object]) -> None:
    before = editor.effect.session()
    editor.panel.widget.onReload()
    editor.panel.widget = slicer.modules.FewShotAnnotateWidget
    assert editor.effect.session() is not before
    assert sys.modules[type(before).__module__] is not library[type(before).__module__]
    editor.panel.parameters.engine = "propagate"  # in the reloaded library, `auto` is not the quick one of the tests
    editor.start()
    editor.finish()
    assert editor.status.startswith(f"{len(editor.scene.between)} slices filled.")


def test_each_editor_has_its_own_effect_and_the_effect_is_registered_once(editor: EffectEditor) -> None:
    other = slicer.qMRMLSegmentEditorWidget()
    register_effect()
    assert other.availableEffectNames().count(NAME) == 1
    assert other.effectByName(NAME) is not editor.editor.effectByName(NAME)
    other.clean_up_effects()
    assert "Fill the slices between those you painted" in editor.effect.helpText()
    assert not editor.effect.icon().isNull()


def test_the_effect_does_nothing_once_the_module_is_unloaded(editor: EffectEditor) -> None:
    editor.until(lambda: editor.effect.fillButton.enabled)
    slicer_standin.close_module(editor.panel.widget)
    editor.until(lambda: not editor.effect.polling)
    assert editor.effect.session() is None
    editor.effect.fillButton.click()
    assert not editor.effect.polling


def test_a_panel_created_during_startup_offers_effects_registered_later_but_not_its_own(
    open_panel: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = open_panel().ui.segmentEditor
    before = editor.shown_effect_names()
    assert before[:2] == ["Threshold", "Paint"]
    effect = slicer_standin.scripted_effect("Of another extension")
    slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(effect)
    register_effect()
    assert editor.shown_effect_names() == [*before, "Of another extension"]
    slicer.qSlicerSegmentEditorEffectFactory.instance().unregister_all()
