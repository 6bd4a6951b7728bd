"""ModulePanel: the panel of the module, which shows its steps and sections and follows scene and parameter node."""

from __future__ import annotations

import logging
import sys
from typing import Any

import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from ..diagnostics.unexpected_errors import StepRunner
from ..effect.registration import EditorEffects
from ..fill.run_editor import RunEditor
from ..fill.run_state import State
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.reading import first_segmentation, has_geometry, has_voxels
from ..tasks import wait_for_threads
from .access import SECTIONS, make_texts_readable, order_tabs
from .action_bar import ActionBar
from .compare_section import CompareSection
from .dataset_section import DatasetSection
from .export_section import ExportSection
from .fill_step import FillStep
from .fill_undo import FillUndo
from .label_step import LabelStep
from .next_button import NextButton
from .review_section import ReviewSection
from .segmentation_events import SegmentationEvents
from .settings_section import SettingsSection
from .shortcuts import KEYS, Shortcuts
from .volume_step import VolumeStep
from .widgets import attempt, show_error
from .work_display import WorkDisplay

TIMER_MILLISECONDS = 100
# While the background thread works, which may run only during ticks, see host/tasks.py.
BUSY_TIMER_MILLISECONDS = 20
RELOAD_WAIT_SECONDS = 10.0
UNDO_STATES = 10
EFFECT_COLUMNS = 4


class ModulePanel(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Base of the widget class that Slicer loads: shows parameter node, slices and run, and handles user input."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None
        self._segmentationEvents = SegmentationEvents(self._onSegmentationChanged, self._show)
        self._surveyedVolume: Any = None
        self._timerSteps = StepRunner(show_error)

    def makeLogic(self) -> Any:
        """The FewShotAnnotateLogic of this panel."""
        raise NotImplementedError

    # --- life cycle

    def setup(self) -> None:
        """Build the panel; called once, or again after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/FewShotAnnotate.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.makeLogic()
        self.logic.panelEditor = RunEditor(self._saveUndo, self.logic.segmentEditorNode)
        self.logic.controller.editor = self.logic.panelEditor
        self._setUpEditor()
        self._setUpSteps()
        self._setUpSections()
        self._setUpWork()
        self.logic.controller.committed.connect(self._fillUndo.committed)
        self.logic.controller.changed.connect(self._showRun)
        self.logic.surveyed.connect(self._show)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self._onSceneStartImport)
        # After the node selectors, which until they have handled the event would undo a choice.
        self.addObserver(
            slicer.mrmlScene, slicer.mrmlScene.EndBatchProcessEvent, self._onSceneEndBatch, priority=-1.0
        )
        self._timer = qt.QTimer(self.uiWidget)
        self._timer.setInterval(TIMER_MILLISECONDS)
        self._timer.connect("timeout()", self._onTimer)
        self._initializeParameterNode()
        if self.parent.isEntered:  # after a reload nobody calls enter
            self.enter()

    def _setUpEditor(self) -> None:
        editor = self.ui.segmentEditor
        editor.setMRMLScene(slicer.mrmlScene)
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.maximumNumberOfUndoStates = UNDO_STATES
        self._editorEffects = EditorEffects(editor)
        editor.effectColumnCount = EFFECT_COLUMNS  # with two, the editor is too high
        self._fillUndo = FillUndo(editor)

    def _setUpSteps(self) -> None:
        arguments = (self.ui, self.logic, lambda: self._parameterNode, self._show)
        self.volumeStep, self.labelStep, self.fillStep = (
            VolumeStep(*arguments),
            LabelStep(*arguments),
            FillStep(*arguments),
        )
        self._steps = (self.volumeStep, self.labelStep, self.fillStep)
        for step in self._steps:
            step.set_up()
        self._shortcuts = Shortcuts({name: getattr(self.ui, name) for name in KEYS})

    def _setUpSections(self) -> None:
        logic, whyBusy = self.logic, self.fillStep.why_busy
        hasDatabase = logic.database is not None
        self.reviewSection = ReviewSection(self.ui.reviewContainer, logic.review, self._onRefill)
        self.exportSection = ExportSection(self.ui.exportSection, logic.export, hasDatabase, logic.chosenNodes)
        self.compareSection = CompareSection(
            self.ui.compareSection,
            logic.compare,
            logic.chosenNodes,
            self._chooseEngine,
            lambda: logic.engines.states,
            lambda: self._parameterNode is None or self._parameterNode.complete,
            whyBusy,
        )
        self.datasetSection = DatasetSection(self.ui.datasetSection, logic.dataset, self._chooseNodes, whyBusy)
        self.settingsSection = SettingsSection(self.ui.settingsSection, logic.settings, logic.log)
        self._sections = (
            self.reviewSection,
            self.exportSection,
            self.compareSection,
            self.datasetSection,
            self.settingsSection,
        )

    def _setUpWork(self) -> None:
        nextButton = NextButton(self.fillStep, self.reviewSection, self.exportSection)
        self._work = WorkDisplay(
            self.ui,
            self.uiWidget,
            ActionBar(self.ui, nextButton, self._fillUndo),
            volume=self.volumeStep,
            label=self.labelStep,
            fill=self.fillStep,
            review=self.reviewSection,
            export=self.exportSection,
            tools={
                "datasetSection": self.datasetSection,
                "compareSection": self.compareSection,
                "settingsSection": self.settingsSection,
            },
        )
        self.accordion, self.help = self._work.accordion, self._work.help
        order_tabs(self.uiWidget, [getattr(self.ui, name) for name in SECTIONS])
        make_texts_readable(self.uiWidget, self.ui.segmentEditor)

    def enter(self) -> None:
        """The user opens the module."""
        self._initializeParameterNode()
        self.ui.segmentEditor.setupViewObservations()
        self.ui.segmentEditor.installKeyboardShortcuts()
        self._shortcuts.install()
        self.logic.engines.refresh()
        self._timer.start()

    def exit(self) -> None:
        """The user opens another module; a run goes on, and the timer until it has ended."""
        self._shortcuts.remove()
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.uninstallKeyboardShortcuts()
        self.ui.segmentEditor.removeViewObservations()

    def cleanup(self) -> None:
        """The application closes or the module is reloaded."""
        self._timer.stop()
        self._shortcuts.remove()
        self._work.close()
        for signal in (self.logic.controller.changed, self.logic.export.changed, self.logic.surveyed):
            signal.disconnect_all()
        self.logic.close()
        self.datasetSection.reset()
        self._editorEffects.close()
        self.reviewSection.close()
        self.settingsSection.close()
        self._setParameterNode(None)
        self.removeObservers()

    @property
    def busy(self) -> bool:
        """Whether background work is pending."""
        return bool(self.logic.busy or any(section.busy for section in self._sections))

    @property
    def polling(self) -> bool:
        """Whether the panel's timer runs."""
        return bool(self._timer.active)

    def onReload(self) -> None:
        """Reload the library with the module."""
        self.cleanup()
        # Two threads that import a package and its submodule for the first time can wait for each other for ever.
        if not wait_for_threads(RELOAD_WAIT_SECONDS):
            logging.warning("FewShotAnnotate: background work goes on; the reload may fail. Then reload again.")
        for name in [name for name in list(sys.modules) if name.split(".")[0] == "fewshot_annotate"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # --- scene and parameter node

    def _onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.logic.reset()
        self.ui.segmentEditor.setSegmentationNode(None)
        self._setParameterNode(None)
        for section in self._sections:
            section.reset()

    def _onSceneStartImport(self, caller: Any, event: Any) -> None:
        self._setParameterNode(None)

    def _onSceneEndBatch(self, caller: Any, event: Any) -> None:
        """The scene was closed, opened or added to."""
        if self.parent.isEntered and self._parameterNode is None:
            self._initializeParameterNode()

    def _initializeParameterNode(self) -> None:
        self._setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.volume is None:
            self._parameterNode.volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        if self._parameterNode.segmentation is None:
            self._parameterNode.segmentation = first_segmentation()

    def _setParameterNode(self, parameterNode: Any) -> None:
        before = self._parameterNode
        if parameterNode is before:
            return
        if None not in (parameterNode, before) and parameterNode.parameterNode is before.parameterNode:
            return  # the same node, wrapped once more
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self._parameterNode = self.logic.parameters = parameterNode
        self._observeSegmentation(None)
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
            self.ui.segmentEditor.setMRMLSegmentEditorNode(self.logic.segmentEditorNode())
        self._onParametersChanged()

    def _onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        self.logic.chosenChanged()
        nodes = self.logic.chosenNodes()
        volume, segmentation = nodes.volume, nodes.segmentation
        if segmentation is not None and has_voxels(volume) and not has_geometry(segmentation):
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        if self.ui.segmentEditor.segmentationNode() is not segmentation:
            self.ui.segmentEditor.setSegmentationNode(segmentation)
        if segmentation is not None and self.ui.segmentEditor.sourceVolumeNode() is not volume:
            self.ui.segmentEditor.setSourceVolumeNode(volume)
        self._observeSegmentation(segmentation)
        if volume is not self._surveyedVolume:  # gives a segmentation without geometry its grid
            self._surveyedVolume = volume
            if volume is not None:
                self.logic.annotations.survey.request(0.0)
        self._show()

    def _observeSegmentation(self, node: Any) -> None:
        if node is self._segmentationEvents.node:
            return
        self._segmentationEvents.follow(node)
        self.logic.segmentationChanged()
        if node is not None:
            self.logic.annotations.survey.request(0.0)

    def _chooseNodes(self, nodes: ChosenNodes) -> None:
        if self._parameterNode is not None:
            self._parameterNode.volume, self._parameterNode.segmentation = nodes.volume, nodes.segmentation

    def _chooseEngine(self, name: Any) -> None:
        if self._parameterNode is not None:
            self._parameterNode.engine = name

    def _onSegmentationChanged(self) -> None:
        self.logic.annotations.survey.request()

    def _saveUndo(self, segmentationNode: Any) -> None:
        if self.ui.segmentEditor.segmentationNode() is not segmentationNode:
            self.ui.segmentEditor.setSegmentationNode(segmentationNode)
        self.ui.segmentEditor.saveStateForUndo()
        self._fillUndo.state_saved(segmentationNode)

    # --- what is shown

    def _onTimer(self) -> None:
        run, parameters = self._timerSteps.run, self._parameterNode
        if parameters is not None and run(lambda: self.logic.poll(parameters)) is not None:
            run(self._show)
        if self.logic.controller.commit.unannounced:
            return  # the commit is announced in a later tick, and this one was long already
        with self.logic.readOnce():
            for section in (self.volumeStep, self.labelStep, self.fillStep, *self._sections):
                run(section.poll)
            self._work.show(run)
        busy = self.busy
        idle = self.logic.controller.state is State.IDLE and not busy and not self.datasetSection.in_background
        if not self.parent.isEntered and idle:
            self._timer.stop()
        interval = BUSY_TIMER_MILLISECONDS if busy else TIMER_MILLISECONDS
        if self._timer.interval != interval:
            self._timer.setInterval(interval)

    def _show(self) -> None:
        with self.logic.readOnce():
            for step in self._steps:
                step.show()
            self._showRun()

    def _showRun(self) -> None:
        with self.logic.readOnce():
            self.fillStep.show_run()
            self.volumeStep.show()
            self.labelStep.show_controls()
            self.reviewSection.disable_refill(self.fillStep.why_busy() or self.fillStep.why_not_fill())
            self._work.show(self._timerSteps.run)

    def _onRefill(self, request: Any) -> None:
        attempt(lambda: self.logic.fill(self._parameterNode, refill=request))
        self._showRun()
