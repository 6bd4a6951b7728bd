"""The Segment Editor effect *Few-Shot Fill*: fills where users already paint. All work is done by the module.

Slicer asks for the names: the class is named as its file, and is loaded as a module named as its folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.host.effect.registration import EFFECT_NAME
from fewshot_annotate.host.i18n import tr as _
from fewshot_annotate.host.panel.widgets import Controls, row_layout
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect  # type: ignore[import-not-found]

ICON = Path(__file__).resolve().parents[4] / "Resources" / "Icons" / "FewShotAnnotate.png"
TIMER_MILLISECONDS = 100
# While the background thread works: it may need its turns, see host/tasks.py.
BUSY_TIMER_MILLISECONDS = 20
PROGRESS_STEPS = 1000


class FewShotFillEffect(AbstractScriptedSegmentEditorEffect):
    """One in each Segment Editor; they share the module's logic, so that one run goes on at a time."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = EFFECT_NAME
        scriptedEffect.title = _("Few-Shot Fill")
        scriptedEffect.perSegment = False
        scriptedEffect.requireSegments = True
        scriptedEffect.showEffectCursorInSliceView = False
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self._session: Any = None
        self._controls = Controls()
        self._timer: Any = None

    def clone(self) -> Any:
        """A new effect for another Segment Editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects  # type: ignore[import-not-found]

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(Path(__file__).as_posix())
        return effect

    def icon(self) -> Any:
        """Icon of the effect's button."""
        return qt.QIcon(str(ICON))

    def helpText(self) -> str:
        """Help of the effect, shown below its title."""
        return "<html>" + _(
            "Fill the slices between those you painted. Paint each segment completely on a few slices of one "
            "direction, the first and the last that show it among them, then press <b>Fill</b>. Painted slices are "
            "never changed; a fill is one undo step. Engine, axis, review and export are in the module "
            "<b>Few-Shot Annotate</b>."
        )

    # --- life cycle

    def setupOptionsFrame(self) -> None:
        """Build the options; called once."""
        self.fillButton = qt.QPushButton(_("Fill between painted slices"))
        self.liveCheckBox = qt.QCheckBox(_("Update while painting"))
        self.liveCheckBox.toolTip = _(
            "After each stroke, refill the neighbouring slices in a preview. Apply writes it into the segmentation."
        )
        self.resumeButton = qt.QPushButton(_("Resume"))
        self.keepButton = qt.QPushButton(_("Stop, keep finished"))
        self.cancelButton = qt.QPushButton(_("Cancel"))
        self.progressBar = qt.QProgressBar()
        self.progressBar.setMaximum(PROGRESS_STEPS)
        self.statusLabel = qt.QLabel("")
        self.statusLabel.textFormat = qt.Qt.PlainText
        self.statusLabel.wordWrap = True
        self.panelButton = qt.QPushButton(_("Full panel"))
        self.panelButton.toolTip = _("Choose engine, axis and segments, review slices, export.")
        # In few rows: the Segment Editor itself takes most of the height.
        self.scriptedEffect.addOptionsWidget(self.fillButton)
        self.scriptedEffect.addOptionsWidget(row_layout(self.liveCheckBox, self.panelButton))
        self.scriptedEffect.addOptionsWidget(self.progressBar)
        self.scriptedEffect.addOptionsWidget(row_layout(self.resumeButton, self.keepButton, self.cancelButton))
        self.scriptedEffect.addOptionsWidget(self.statusLabel)
        for widget in (self.progressBar, self.resumeButton, self.keepButton, self.cancelButton):
            widget.visible = False  # side by side the buttons are wider than the options may be
        self.fillButton.connect("clicked(bool)", self._onFill)
        self.liveCheckBox.connect("clicked(bool)", self._onLive)
        self.resumeButton.connect("clicked(bool)", self._onResume)
        self.keepButton.connect("clicked(bool)", self._onKeep)
        self.cancelButton.connect("clicked(bool)", self._onCancel)
        self.panelButton.connect("clicked(bool)", self._onOpenPanel)
        self._timer = qt.QTimer(self.scriptedEffect.optionsFrame())
        self._timer.setInterval(TIMER_MILLISECONDS)
        self._timer.connect("timeout()", self._onTimer)

    def activate(self) -> None:
        """The user chooses the effect."""
        self._show()
        self._timer.start()

    def deactivate(self) -> None:
        """The user chooses another effect; a run goes on, and the timer until it has ended."""

    def cleanup(self) -> None:
        """The Segment Editor is about to be deleted."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.disconnect("timeout()", self._onTimer)
        for button, slot in (
            (self.fillButton, self._onFill),
            (self.liveCheckBox, self._onLive),
            (self.resumeButton, self._onResume),
            (self.keepButton, self._onKeep),
            (self.cancelButton, self._onCancel),
            (self.panelButton, self._onOpenPanel),
        ):
            button.disconnect("clicked(bool)", slot)
        if self._session is not None:
            self._session.detach()

    def updateGUIFromMRML(self) -> None:
        """Segmentation, volume or another choice of the Segment Editor changed."""
        self._show()

    # --- what is shown

    def session(self) -> Any:
        """State and actions of the effect, created again after a reload; None while there is no panel.

        That is while the panel is being made, and after the module was unloaded, when a timer may still run.
        """
        from fewshot_annotate.host.effect.session import EffectSession
        from fewshot_annotate.host.fill.run_editor import RunEditor

        panel = getattr(slicer.modules, "FewShotAnnotateWidget", None)
        module = getattr(slicer.modules, "fewshotannotate", None)
        if panel is None and module is not None:
            panel = module.widgetRepresentation().self()
        if module is None or panel is None or panel.logic is None:
            return None
        if self._session is None or self._session.logic is not panel.logic:
            effect = self.scriptedEffect
            editor = RunEditor(lambda node: effect.saveStateForUndo(), effect.parameterSetNode)
            self._session = EffectSession(panel.logic, editor)
        return self._session

    def _show(self) -> None:
        session = self.session()
        if session is None:
            return
        self._controls.enable(self.fillButton, session.why_not_fill, _("Fill the slices between the painted ones."))
        self._controls.enable(
            self.resumeButton, session.why_not_resume, _("Continue with the slices that are not finished.")
        )
        live = session.shows_live_run
        self._controls.enable(
            self.keepButton,
            session.why_not_keep,
            _("Write the preview into the segmentation, as one undo step.")
            if live
            else _("Stop, and write the finished slices into the segmentation."),
        )
        self.keepButton.text = self._keepText(session)
        ended = session.idle and not session.has_unfinished_run
        self._controls.enable(
            self.cancelButton, InputError("nothing_running") if ended else None, _("Stop; nothing is changed.")
        )
        self.cancelButton.text = _("Discard") if session.has_unfinished_run else _("Cancel")
        self.progressBar.visible = not session.idle and not live
        self.resumeButton.visible = session.why_not_resume is None
        self.keepButton.visible = self.cancelButton.visible = not ended
        self.progressBar.setValue(round(PROGRESS_STEPS * (session.fraction or 0.0)))
        self.statusLabel.text = "\n".join(session.lines)

    def _keepText(self, session: Any) -> str:
        if session.shows_live_run:
            return _("Apply")
        # Beside Resume there is less room, and nothing to stop.
        return _("Keep") if session.why_not_resume is None else _("Stop, keep finished")

    @property
    def polling(self) -> bool:
        """Whether the timer of the effect runs."""
        return self._timer is not None and bool(self._timer.active)

    def _onTimer(self) -> None:
        session = self.session()
        if session is None:
            self._timer.stop()  # started again when the effect is chosen or shown
            return
        session.poll(self.scriptedEffect.active())
        self._show()
        if session.idle and not session.busy and not self.scriptedEffect.active():
            self._timer.stop()
        interval = BUSY_TIMER_MILLISECONDS if session.busy else TIMER_MILLISECONDS
        if self._timer.interval != interval:
            self._timer.setInterval(interval)

    # --- what the user does

    def _withSession(self, action: Callable[[Any], None]) -> None:
        session = self.session()
        if session is not None:
            action(session)
            self._show()

    def _onFill(self, checked: bool = False) -> None:
        self._withSession(lambda session: session.fill())

    def _onLive(self, checked: bool = False) -> None:
        self._withSession(lambda session: session.set_live(self.liveCheckBox.checked))

    def _onResume(self, checked: bool = False) -> None:
        self._withSession(lambda session: session.resume())

    def _onKeep(self, checked: bool = False) -> None:
        self._withSession(lambda session: session.cancel(keep=True))

    def _onCancel(self, checked: bool = False) -> None:
        self._withSession(lambda session: session.cancel(keep=False))

    def _onOpenPanel(self, checked: bool = False) -> None:
        slicer.util.selectModule("FewShotAnnotate")
