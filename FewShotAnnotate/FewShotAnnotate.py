"""The Slicer module: metadata, parameters, panel, logic and self-test. All work is done in FewShotAnnotateLib."""

import sys
from dataclasses import replace

import qt
import slicer
import vtk
from FewShotAnnotateLib.core.axis import SliceAxis
from FewShotAnnotateLib.core.errors import InputError
from FewShotAnnotateLib.host.comparison import CompareController
from FewShotAnnotateLib.host.controller import FillController, State
from FewShotAnnotateLib.host.dependencies import worker_python
from FewShotAnnotateLib.host.engine_state import EngineBoard
from FewShotAnnotateLib.host.export import ExportController
from FewShotAnnotateLib.host.panel.batch_section import BatchSection
from FewShotAnnotateLib.host.panel.compare_section import CompareSection
from FewShotAnnotateLib.host.panel.export_section import ExportSection
from FewShotAnnotateLib.host.panel.fill_step import FillStep
from FewShotAnnotateLib.host.panel.label_step import LabelStep
from FewShotAnnotateLib.host.panel.next_button import NextButton
from FewShotAnnotateLib.host.panel.review_section import ReviewSection
from FewShotAnnotateLib.host.panel.settings_section import SettingsSection
from FewShotAnnotateLib.host.panel.shortcuts import KEYS, Shortcuts, shortcut_help
from FewShotAnnotateLib.host.panel.volume_step import VolumeStep
from FewShotAnnotateLib.host.panel.widgets import attempt
from FewShotAnnotateLib.host.preparation import FillSettings
from FewShotAnnotateLib.host.record import PaintRecord, Selection, select
from FewShotAnnotateLib.host.register_effect import register_effect
from FewShotAnnotateLib.host.review import ReviewController
from FewShotAnnotateLib.host.run_editor import RunEditor
from FewShotAnnotateLib.host.run_log import RunLog
from FewShotAnnotateLib.host.sample_data import register_sample_data
from FewShotAnnotateLib.host.scene import is_locked
from FewShotAnnotateLib.host.sequence import require_no_sequence
from FewShotAnnotateLib.host.settings import Settings
from FewShotAnnotateLib.host.suggestion import ENGINE as SUGGESTING_ENGINE
from FewShotAnnotateLib.host.suggestion import SuggestionFinder
from FewShotAnnotateLib.host.survey import Survey
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

TIMER_MILLISECONDS = 100
# While the background thread works: it may need its turns, see host/background.py.
BUSY_TIMER_MILLISECONDS = 20
UNDO_STATES = 10


class FewShotAnnotate(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Few-Shot Annotate")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["FewShotAnnotate contributors"]
        self.parent.helpText = _(
            "Paint a few slices of a volume and let the slices between be filled. "
            "Painted slices are never changed; a fill is one undo step."
        )
        self.parent.helpText += "<p>" + shortcut_help() + "</p>"
        self.parent.acknowledgementText = _("Licensed under Apache-2.0.")
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", register_effect)


@parameterNodeWrapper
class FewShotAnnotateParameterNode:
    """What the user chose; saved with the scene.

    volume - The volume to label.
    segmentation - The segmentation with the painted slices.
    engine - Name of the engine, or 'auto'.
    fillAll - Whether slices outside the painted range are filled too.
    complete - Whether painted slices show all that is there.
    mayOverwrite - Whether other segments may lose voxels.
    """

    volume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    engine: str = "auto"
    fillAll: bool = False
    complete: bool = True
    mayOverwrite: bool = False


class FewShotAnnotateLogic(ScriptedLoadableModuleLogic):
    """The module without its panel: one controller and one survey on the application's scene."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.saveUndo = lambda segmentationNode: None
        self.onChange = lambda: None
        self.onNews = lambda: None
        self.nodes = lambda: (None, None)
        self.settings = Settings(slicer.app.userSettings())
        self.log = RunLog(self.settings)
        self.survey = Survey()
        self.engines = EngineBoard()
        self.suggestion = SuggestionFinder()
        self.review = ReviewController(self.rawParameterNode, lambda: self.nodes(), self.survey)
        self.compare = CompareController(slicer.mrmlScene, worker_python(), self.settings.device_for)
        self.fillWanted = False
        self.refillWanted = None
        self.ownEditor = RunEditor(lambda node: self.saveUndo(node), self.segmentEditorNode)
        self.editor = self.ownEditor
        self.controller = FillController(
            slicer.mrmlScene,
            lambda node: self.editor.save_undo(node),
            lambda: self.editor.node(),
            worker_python(),
            lambda: self.onChange(),
            self.review.take,
        )
        self.onExportChange = lambda: None
        self.database = getattr(slicer, "dicomDatabase", None)
        self.export = ExportController(self.database, lambda: self.onExportChange())

    def getParameterNode(self):
        """The parameter node, wrapped."""
        return FewShotAnnotateParameterNode(super().getParameterNode())

    def rawParameterNode(self):
        """The parameter node, not wrapped; None if there is none, as while a scene closes."""
        return slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")

    def segmentEditorNode(self):
        """The editor node of our own panel, so that the Segment Editor module keeps its settings."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node

    def selection(self, segmentationNode) -> Selection:
        """What a fill would use now."""
        if segmentationNode is None or self.survey.grid is None:
            return Selection()
        segmentation = segmentationNode.GetSegmentation()
        extents = {name: e for name, e in self.survey.extents.items() if segmentation.GetSegment(name)}
        locked = [name for name in extents if is_locked(segmentation.GetSegment(name))]
        shape = self.survey.grid.geometry.shape
        return select(extents, PaintRecord.of_node(segmentationNode), shape, locked, self.survey.digests)

    def fill(self, parameters, editor=None, refill=None) -> None:
        """Start a run with what the parameter node says, as soon as all that was painted is known.

        Undo and masking are those of `editor`, or of the panel's own. With a RefillRequest only its slices are
        filled. Raises InputError; so does `tick` if the run starts later.
        """
        self.editor = editor or self.ownEditor
        self.fillWanted, self.refillWanted = True, refill
        self._startIfKnown(parameters)

    def suggest(self, parameters) -> None:
        """Begin to look for the slice to paint next; `suggestion` tells what was found. Raises InputError."""
        settings = replace(self._settings(parameters), engine=SUGGESTING_ENGINE)
        settings = replace(settings, slices=range(settings.axis.count(self.survey.grid.geometry)))
        self.suggestion.start(parameters.volume, parameters.segmentation, settings)

    def cancel(self, keep) -> None:
        """Stop the run, or do not start it."""
        self.fillWanted = False
        self.controller.cancel(keep)

    def _startIfKnown(self, parameters) -> None:
        if not self.fillWanted or self.survey.busy:
            return
        self.fillWanted = False
        if parameters.volume is None or parameters.segmentation is None:
            return
        self.controller.start(parameters.volume, parameters.segmentation, self._settings(parameters))

    def _settings(self, parameters) -> FillSettings:
        require_no_sequence(parameters.volume)
        if self.survey.error is not None:
            raise self.survey.error
        selection, refill = self.selection(parameters.segmentation), self.refillWanted
        if selection.axis is None or not selection.labelled:
            raise InputError("no_labelled_slice", path=parameters.segmentation.GetName())
        axis = SliceAxis(selection.axis)
        slices = range(axis.count(self.survey.grid.geometry)) if parameters.fillAll else None
        return FillSettings(
            selection.segment_ids,
            axis,
            selection.labelled,
            refill.slices if refill is not None else slices,
            parameters.engine,
            self.settings.device_for(parameters.engine),
            complete=parameters.complete,
            may_overwrite=parameters.mayOverwrite,
            keep=self.review.kept,
        )

    @property
    def busy(self) -> bool:
        """Whether background work is under way."""
        return self.controller.busy or self.survey.busy or self.engines.busy or self.suggestion.busy

    def tick(self, parameters) -> bool:
        """One bounded step of run and survey; True if the survey has news."""
        self.controller.tick()
        self.log.follow("run", self.controller.state, self.controller.error)
        self.log.follow("comparison", self.compare.state, self.compare.error)
        news = self.survey.poll(parameters.segmentation, parameters.volume)
        self._startIfKnown(parameters)
        return news

    def discard(self) -> None:
        """End a run at once, to be resumed later, and forget what was surveyed: the scene is about to be closed."""
        self.fillWanted = False
        self.controller.leave()
        self.survey.reset()
        self.suggestion.forget()

    def close(self) -> None:
        """Stop everything for good."""
        self.fillWanted = False
        for part in (
            self.controller,
            self.survey,
            self.engines,
            self.suggestion,
            self.review,
            self.compare,
            self.export,
            self.log,
        ):
            part.close()


class FewShotAnnotateWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows the parameter node, the survey and the controller, and passes on what the user does."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._observed = None
        self._surveyedVolume = None
        self._hadRows = False

    # --- life cycle

    def setup(self):
        """Build the panel; called once, or again after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/FewShotAnnotate.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = FewShotAnnotateLogic()
        self.logic.saveUndo = self._saveUndo
        self.logic.nodes = self._chosenNodes
        self._setUpEditor()
        self._setUpSteps()
        self._setUpSections()
        self.logic.onChange = self._showRun
        self.logic.onNews = self._show
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._onSceneEndClose)
        self._timer = qt.QTimer(self.uiWidget)
        self._timer.setInterval(TIMER_MILLISECONDS)
        self._timer.connect("timeout()", self._onTimer)
        self._initializeParameterNode()
        if self.parent.isEntered:  # after a reload nobody calls enter
            self.enter()

    def _setUpEditor(self):
        editor = self.ui.segmentEditor
        editor.setMRMLScene(slicer.mrmlScene)
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.maximumNumberOfUndoStates = UNDO_STATES

    def _setUpSteps(self):
        given = (self.ui, self.logic, lambda: self._parameterNode, self._show)
        self.volumeStep, self.labelStep, self.fillStep = VolumeStep(*given), LabelStep(*given), FillStep(*given)
        self._steps = (self.volumeStep, self.labelStep, self.fillStep)
        for step in self._steps:
            step.set_up()
        self._shortcuts = Shortcuts({name: getattr(self.ui, name) for name in KEYS})

    def _setUpSections(self):
        logic, why = self.logic, self.fillStep.why_busy
        hasDatabase = logic.database is not None
        self.reviewSection = ReviewSection(self.ui.reviewContainer, logic.review, self._onRefill)
        self.exportSection = ExportSection(self.ui.exportSection, logic.export, hasDatabase, self._chosenNodes)
        logic.onExportChange = self.exportSection.show
        self.compareSection = CompareSection(
            self.ui.compareSection,
            logic.compare,
            self._chosenNodes,
            self._chooseEngine,
            lambda: logic.engines.states,
            lambda: self._parameterNode is None or self._parameterNode.complete,
            why,
        )
        self.batchSection = BatchSection(self.ui.batchSection, self._chooseNodes, why)
        self._nextButton = NextButton(self.fillStep, self.reviewSection, self.exportSection)
        self.settingsSection = SettingsSection(self.ui.settingsSection, logic.settings, logic.log)
        self._sections = (
            self.reviewSection,
            self.exportSection,
            self.compareSection,
            self.batchSection,
            self.settingsSection,
        )

    def enter(self):
        """The user opens the module."""
        self._initializeParameterNode()
        self.ui.segmentEditor.setupViewObservations()
        self.ui.segmentEditor.installKeyboardShortcuts()
        self._shortcuts.install()
        self.logic.engines.refresh()
        self._timer.start()

    def exit(self):
        """The user opens another module; a run goes on, and the timer until it has ended."""
        self._shortcuts.remove()
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.uninstallKeyboardShortcuts()
        self.ui.segmentEditor.removeViewObservations()

    def cleanup(self):
        """The application closes or the module is reloaded."""
        self._timer.stop()
        self._shortcuts.remove()
        self.logic.onChange = self.logic.onNews = self.logic.onExportChange = lambda: None
        self.logic.close()
        self.batchSection.forget()
        self._setParameterNode(None)
        self.removeObservers()

    def onReload(self):
        """Reload the library with the module."""
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] == "FewShotAnnotateLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # --- scene and parameter node

    def _onSceneStartClose(self, caller, event):
        self.logic.discard()
        self.ui.segmentEditor.setSegmentationNode(None)
        self._setParameterNode(None)
        for section in self._sections:
            section.forget()

    def _onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self._initializeParameterNode()

    def _initializeParameterNode(self):
        self._setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.volume is None:
            self._parameterNode.volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        if self._parameterNode.segmentation is None:
            self._parameterNode.segmentation = _firstSegmentation()

    def _setParameterNode(self, parameterNode):
        if _sameNode(parameterNode, self._parameterNode):
            return
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self._parameterNode = parameterNode
        self._observeSegmentation(None)
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
            self.ui.segmentEditor.setMRMLSegmentEditorNode(self.logic.segmentEditorNode())
        self._onParametersChanged()

    def _onParametersChanged(self, caller=None, event=None):
        parameters = self._parameterNode
        volume = parameters.volume if parameters is not None else None
        segmentation = parameters.segmentation if parameters is not None else None
        if segmentation is not None and _hasVoxels(volume) and not _hasGeometry(segmentation):
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        if self.ui.segmentEditor.segmentationNode() is not segmentation:
            self.ui.segmentEditor.setSegmentationNode(segmentation)
        if segmentation is not None and self.ui.segmentEditor.sourceVolumeNode() is not volume:
            self.ui.segmentEditor.setSourceVolumeNode(volume)
        self._observeSegmentation(segmentation)
        if volume is not self._surveyedVolume:  # gives a segmentation without geometry its grid
            self._surveyedVolume = volume
            self.logic.survey.request(0.0)
        self._show()

    def _observeSegmentation(self, node):
        if node is self._observed:
            return
        if self._observed is not None:
            self.removeObservers(self._onSegmentationChanged)
        self._observed = node
        self.logic.survey.reset()
        self.logic.suggestion.forget()
        if node is not None:
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onSegmentationChanged)
            for event in (
                slicer.vtkSegmentation.SourceRepresentationModified,
                slicer.vtkSegmentation.SegmentAdded,
                slicer.vtkSegmentation.SegmentRemoved,
                slicer.vtkSegmentation.SegmentModified,
            ):
                self.addObserver(node.GetSegmentation(), event, self._onSegmentationChanged)
            self.logic.survey.request(0.0)

    def _chosenNodes(self):
        parameters = self._parameterNode
        return (parameters.segmentation, parameters.volume) if parameters is not None else (None, None)

    def _chooseNodes(self, segmentation, volume):
        if self._parameterNode is not None:
            self._parameterNode.volume, self._parameterNode.segmentation = volume, segmentation

    def _chooseEngine(self, name):
        if self._parameterNode is not None:
            self._parameterNode.engine = name

    def _onSegmentationChanged(self, caller=None, event=None):
        self.logic.survey.request()

    def _saveUndo(self, segmentationNode):
        if self.ui.segmentEditor.segmentationNode() is not segmentationNode:
            self.ui.segmentEditor.setSegmentationNode(segmentationNode)
        self.ui.segmentEditor.saveStateForUndo()

    # --- what is shown

    def _onTimer(self):
        if self._parameterNode is not None and attempt(lambda: self.logic.tick(self._parameterNode)):
            self._show()
        for part in (self.labelStep, self.fillStep, *self._sections):
            part.tick()
        self._openReview()
        self._nextButton.show()
        busy = self.logic.busy or any(section.busy for section in self._sections)
        if not self.parent.isEntered and self.logic.controller.state is State.IDLE and not busy:
            self._timer.stop()
        interval = BUSY_TIMER_MILLISECONDS if busy else TIMER_MILLISECONDS
        if self._timer.interval != interval:
            self._timer.setInterval(interval)

    def _show(self):
        for step in self._steps:
            step.show()
        self._showRun()

    def _showRun(self):
        self.fillStep.show_run()
        self.volumeStep.show()
        self.labelStep.show_controls()
        self.reviewSection.block_fill(self.fillStep.why_busy() or self.fillStep.why_not_fill())
        self._nextButton.show()

    def _openReview(self):
        """Open step 4 as soon as there is something to review; the user may close it again."""
        hasRows = bool(self.logic.review.view.rows)
        if hasRows and not self._hadRows:
            self.ui.reviewSection.collapsed = False
        self._hadRows = hasRows

    def _onRefill(self, request):
        attempt(lambda: self.logic.fill(self._parameterNode, refill=request))
        self._showRun()


def _firstSegmentation():
    """The first segmentation a user can see; previews are hidden from editors."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in nodes if not node.GetHideFromEditors()), None)


def _hasGeometry(segmentationNode):
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    return bool(segmentationNode.GetSegmentation().GetConversionParameter(name))


def _hasVoxels(volumeNode):
    return volumeNode is not None and volumeNode.GetImageData() is not None


def _sameNode(one, other):
    """Whether two wrapped parameter nodes are the same node."""
    if one is None or other is None:
        return one is other
    return one.parameterNode is other.parameterNode


class FewShotAnnotateTest(ScriptedLoadableModuleTest):
    """The steps of Testing/MANUAL.md that need no eyes, on a real volume from Sample Data."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all tests of this class."""
        self.setUp()
        self.test_manualSteps()

    def test_manualSteps(self):
        """From painted slices to an export, with cancel, undo, review, refill and the Segment Editor effect."""
        import SampleData
        from FewShotAnnotateLib.host.self_test import SelfTest

        slicer.util.selectModule("FewShotAnnotate")
        volume = SampleData.SampleDataLogic().downloadSample("MRHead")
        SelfTest(slicer.modules.FewShotAnnotateWidget, self, volume).run()
