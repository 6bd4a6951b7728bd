"""The Slicer module: metadata, parameters, panel, logic and self-test. All work is done in FewShotAnnotateLib."""

import sys

import qt
import slicer
import vtk
from FewShotAnnotateLib.core.axis import SliceAxis
from FewShotAnnotateLib.core.errors import InputError
from FewShotAnnotateLib.core.event import Stage
from FewShotAnnotateLib.engines import engine_class, engine_names
from FewShotAnnotateLib.host.controller import FillController, State
from FewShotAnnotateLib.host.dependencies import worker_python
from FewShotAnnotateLib.host.export import ExportController
from FewShotAnnotateLib.host.offer import offer
from FewShotAnnotateLib.host.panel.batch_section import BatchSection
from FewShotAnnotateLib.host.panel.export_section import ExportSection
from FewShotAnnotateLib.host.panel.widgets import enable, sentence, set_header, set_text_item, tell
from FewShotAnnotateLib.host.preparation import FillSettings
from FewShotAnnotateLib.host.record import PaintRecord, Selection, select
from FewShotAnnotateLib.host.run_editor import RunEditor
from FewShotAnnotateLib.host.sample_data import register_sample_data
from FewShotAnnotateLib.host.scene import is_locked, set_locked
from FewShotAnnotateLib.host.survey import Survey
from FewShotAnnotateLib.host.views import current_slice, jump_to_slice
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
PROGRESS_STEPS = 1000


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
        self.parent.acknowledgementText = _("Licensed under Apache-2.0.")
        slicer.app.connect("startupCompleted()", register_sample_data)


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
        self.survey = Survey()
        self.fillWanted = False
        self.ownEditor = RunEditor(lambda node: self.saveUndo(node), self.segmentEditorNode)
        self.editor = self.ownEditor
        self.controller = FillController(
            slicer.mrmlScene,
            lambda node: self.editor.save_undo(node),
            lambda: self.editor.node(),
            worker_python(),
            lambda: self.onChange(),
        )
        self.onExportChange = lambda: None
        self.database = getattr(slicer, "dicomDatabase", None)
        self.export = ExportController(self.database, lambda: self.onExportChange())

    def getParameterNode(self):
        """The parameter node, wrapped."""
        return FewShotAnnotateParameterNode(super().getParameterNode())

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

    def fill(self, parameters, editor=None) -> None:
        """Start a run with what the parameter node says, as soon as all that was painted is known.

        Undo and masking are those of `editor`, or of the panel's own. Raises InputError; so does `tick` if the run
        starts later.
        """
        self.editor = editor or self.ownEditor
        self.fillWanted = True
        self._startIfKnown(parameters)

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
        if self.survey.error is not None:
            raise self.survey.error
        selection = self.selection(parameters.segmentation)
        if selection.axis is None or not selection.labelled:
            raise InputError("no_labelled_slice", path=parameters.segmentation.GetName())
        axis = SliceAxis(selection.axis)
        settings = FillSettings(
            selection.segment_ids,
            axis,
            selection.labelled,
            range(axis.count(self.survey.grid.geometry)) if parameters.fillAll else None,
            parameters.engine,
            complete=parameters.complete,
            may_overwrite=parameters.mayOverwrite,
        )
        self.controller.start(parameters.volume, parameters.segmentation, settings)

    @property
    def busy(self) -> bool:
        """Whether background work is under way."""
        return self.controller.busy or self.survey.busy

    def tick(self, parameters) -> bool:
        """One bounded step of run and survey; True if the survey has news."""
        self.controller.tick()
        news = self.survey.poll(parameters.segmentation, parameters.volume)
        self._startIfKnown(parameters)
        return news

    def discard(self) -> None:
        """End a run at once and forget what was surveyed: the scene is about to be closed."""
        self.fillWanted = False
        self.controller.discard()
        self.survey.reset()

    def close(self) -> None:
        """Stop everything for good."""
        self.fillWanted = False
        self.controller.close()
        self.survey.close()
        self.export.close()


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
        self._ownToolTips = {}

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
        self.logic.onChange = self._showRun
        self._setUpEditor()
        self._setUpControls()
        self._setUpSections()
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

    def _setUpControls(self):
        for axis in (-1, 0, 1, 2):
            self.ui.axisComboBox.addItem("", axis)
        self.ui.engineComboBox.addItem(_("Best that can run here"), "auto")
        for name in engine_names():
            engine = engine_class(name)
            reason = engine.cannot_run()
            self.ui.engineComboBox.addItem(engine.title + (f" ({reason})" if reason else ""), name)
            row = self.ui.engineComboBox.count - 1
            self.ui.engineComboBox.setItemData(row, engine.summary, qt.Qt.ToolTipRole)
        set_header(self.ui.slicesTable, (_("Slice"), _("Segments")), wide=1)
        set_header(self.ui.segmentsTable, (_("Segments to fill"), _("Locked")), wide=0)
        self.ui.axisComboBox.connect("currentIndexChanged(int)", self._onAxisChosen)
        self.ui.engineComboBox.connect("currentIndexChanged(int)", self._onEngineChosen)
        self.ui.slicesTable.connect("itemChanged(QTableWidgetItem*)", self._onSliceChecked)
        self.ui.slicesTable.connect("cellClicked(int,int)", self._onSliceClicked)
        self.ui.segmentsTable.connect("itemChanged(QTableWidgetItem*)", self._onSegmentChecked)
        self.ui.currentSliceButton.connect("clicked(bool)", self._onCurrentSlice)
        self.ui.markSliceButton.connect("clicked(bool)", self._onMarkSlice)
        self.ui.fillButton.connect("clicked(bool)", self._onFill)
        self.ui.resumeButton.connect("clicked(bool)", self._onResume)
        self.ui.keepButton.connect("clicked(bool)", self._onKeep)
        self.ui.cancelButton.connect("clicked(bool)", self._onCancel)
        widgets = vars(self.ui).items()
        self._ownToolTips = {name: widget.toolTip for name, widget in widgets if hasattr(widget, "toolTip")}

    def _setUpSections(self):
        hasDatabase = self.logic.database is not None
        self.exportSection = ExportSection(self.ui.exportSection, self.logic.export, hasDatabase, self._chosenNodes)
        self.logic.onExportChange = self.exportSection.show
        self.batchSection = BatchSection(self.ui.batchSection, self._chooseNodes, self._whyBusy)

    def enter(self):
        """The user opens the module."""
        self._initializeParameterNode()
        self.ui.segmentEditor.setupViewObservations()
        self.ui.segmentEditor.installKeyboardShortcuts()
        self._timer.start()

    def exit(self):
        """The user opens another module; a run goes on, and the timer until it has ended."""
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.uninstallKeyboardShortcuts()
        self.ui.segmentEditor.removeViewObservations()

    def cleanup(self):
        """The application closes or the module is reloaded."""
        self._timer.stop()
        self.logic.onChange = self.logic.onExportChange = lambda: None
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
        self.exportSection.forget()
        self.batchSection.forget()

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
        if parameters is not None:
            _choose(self.ui.engineComboBox, parameters.engine)
        self._observeSegmentation(segmentation)
        if volume is not self._surveyedVolume:  # gives a segmentation without geometry its grid
            self._surveyedVolume = volume
            self.logic.survey.request(0.0)
        self._showSelection()

    def _observeSegmentation(self, node):
        if node is self._observed:
            return
        if self._observed is not None:
            self.removeObservers(self._onSegmentationChanged)
        self._observed = node
        self.logic.survey.reset()
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

    def _onSegmentationChanged(self, caller=None, event=None):
        self.logic.survey.request()

    def _saveUndo(self, segmentationNode):
        if self.ui.segmentEditor.segmentationNode() is not segmentationNode:
            self.ui.segmentEditor.setSegmentationNode(segmentationNode)
        self.ui.segmentEditor.saveStateForUndo()

    # --- what is shown

    def _onTimer(self):
        if self._parameterNode is not None and self._attempt(lambda: self.logic.tick(self._parameterNode)):
            self._showSelection()
        sections = (self.exportSection, self.batchSection)
        for section in sections:
            section.tick()
        busy = self.logic.busy or any(section.busy for section in sections)
        if not self.parent.isEntered and self.logic.controller.state is State.IDLE and not busy:
            self._timer.stop()
        interval = BUSY_TIMER_MILLISECONDS if busy else TIMER_MILLISECONDS
        if self._timer.interval != interval:
            self._timer.setInterval(interval)

    def _showSelection(self):
        node = self._parameterNode.segmentation if self._parameterNode is not None else None
        selection = self.logic.selection(node)
        record = PaintRecord.of_node(node) if node is not None else PaintRecord()
        self._showAxes(selection)
        _choose(self.ui.axisComboBox, -1 if record.axis is None else record.axis)
        self._showSlices(node, selection)
        self._showSegments(node, selection)
        grid = self.logic.survey.grid
        last = SliceAxis(selection.axis or 0).count(grid.geometry) - 1 if grid is not None else 0
        self.ui.sliceSpinBox.setMaximum(last)
        self._showRun()

    def _showAxes(self, selection):
        """Name each axis by its patient plane, with the number of slices painted along it."""
        grid, extents = self.logic.survey.grid, self.logic.survey.extents.values()
        titles = [_("Found from the painted slices")]
        for axis in range(3):
            if grid is None:
                titles.append(_("Axis {axis}").format(axis=axis))
                continue
            along = [extent.slices[axis] for extent in extents if extent.painted_axis == axis]
            count = len(selection.labelled) if axis == selection.axis else len(set().union(*along))
            plane = _(SliceAxis(axis).patient_name(grid.geometry))
            text = _("{plane} slices, axis {axis}: {count} painted")
            titles.append(text.format(plane=plane, axis=axis, count=count))
        for row, title in enumerate(titles):
            self.ui.axisComboBox.setItemText(row, title)

    def _showSlices(self, node, selection):
        table = self.ui.slicesTable
        table.blockSignals(True)
        table.setRowCount(len(selection.slices))
        for row, (index, segmentIds) in enumerate(selection.slices.items()):
            _setCheckItem(table, row, 0, str(index), index in selection.labelled, index)
            segments = [node.GetSegmentation().GetSegment(name) for name in segmentIds]
            names = ", ".join(segment.GetName() for segment in segments if segment is not None)
            set_text_item(table, row, 1, names or _("nothing here"))
        table.blockSignals(False)

    def _showSegments(self, node, selection):
        table = self.ui.segmentsTable
        table.blockSignals(True)
        segmentation = node.GetSegmentation() if node is not None else None
        segmentIds = segmentation.GetSegmentIDs() if segmentation is not None else ()
        table.setRowCount(len(segmentIds))
        for row, name in enumerate(segmentIds):
            segment = segmentation.GetSegment(name)
            locked = is_locked(segment)
            reason = _("Locked: it is not filled and never changed.") if locked else ""
            _setCheckItem(table, row, 0, segment.GetName(), name in selection.segment_ids, name, reason)
            _setCheckItem(table, row, 1, "", locked, name)
        table.blockSignals(False)

    def _showRun(self):
        controller = self.logic.controller
        state, stopped = controller.state, controller.state is State.STOPPED
        idle = state is State.IDLE and not self.logic.fillWanted
        busy = self._whyBusy()
        missing = "" if self.logic.survey.grid is not None else _("Choose a volume and a segmentation first.")
        self._enable("fillButton", busy or self._whyNot())
        self._enable("keepButton", self._whyNotKeep())
        self._enable("cancelButton", _("Nothing is running.") if idle else "")
        for name in ("volumeSelector", "segmentationSelector"):
            self._enable(name, busy)
        for name in ("axisComboBox", "sliceSpinBox", "currentSliceButton", "markSliceButton"):
            self._enable(name, missing)
        self.ui.resumeButton.visible = stopped
        self.ui.keepButton.visible = not idle
        self.ui.cancelButton.visible = not idle
        self.ui.progressBar.visible = not idle or controller.progress.total > 0
        self.ui.progressBar.setMaximum(PROGRESS_STEPS)
        self.ui.progressBar.setValue(round(PROGRESS_STEPS * controller.progress.fraction))
        lines = [self._status(), *self._expectedDice(), *controller.warnings]
        self.ui.statusLabel.text = "\n".join(lines).strip()

    def _whyBusy(self):
        idle = self.logic.controller.state is State.IDLE and not self.logic.fillWanted
        return "" if idle else _("Wait for the run to end, or cancel it.")

    def _enable(self, name, reason):
        """Enable a control, or disable it and let its tool tip say why."""
        enable(getattr(self.ui, name), reason, self._ownToolTips[name])

    def _status(self):
        controller = self.logic.controller
        if self.logic.fillWanted:
            return _("Looking at the painted slices ...")
        if controller.state is State.PREPARING:
            return _("Preparing ...")
        if controller.state is State.FINISHING:
            return _("Putting the slices into the segmentation ...")
        if controller.stopping:
            return _("Stopping after the slice at hand ...")
        if controller.state is State.RUNNING:
            progress = controller.progress
            text = {
                Stage.FILLING: _("{done} of {total} slices"),
                Stage.DRAFTING: _("{done} of {total} slices drafted"),
                Stage.REFINING: _("{done} of {total} slices refined"),
            }[progress.stage].format(done=progress.counted, total=progress.total)
            eta = progress.eta
            return text if eta is None else text + _(", {seconds} s left").format(seconds=round(eta))
        error = self.logic.survey.error or controller.error
        if error is not None:
            return sentence(error)
        return controller.message or self._whyNot()

    def _expectedDice(self):
        """One line for each segment of which the engine expects a Dice."""
        text = _("{name}: expected Dice {dice:.2f} ({low:.2f} to {high:.2f})")
        told = self.logic.controller.expected.values()
        return [text.format(name=name, dice=one.dice, low=one.low, high=one.high) for name, one in told]

    def _whyNotKeep(self):
        """Why finished slices cannot be kept, or nothing."""
        controller = self.logic.controller
        if controller.state is State.STOPPED or (controller.state is State.RUNNING and not controller.stopping):
            return ""
        if controller.state in (State.RUNNING, State.FINISHING):
            return _("The finished slices are being kept.")
        return _("No slice is finished yet.")

    def _whyNot(self):
        """Why Fill cannot be pressed, or nothing."""
        parameters, survey = self._parameterNode, self.logic.survey
        if parameters is None or parameters.volume is None:
            return _("Choose a volume first.")
        if parameters.segmentation is None:
            return _("Choose or create a segmentation first.")
        if survey.error is not None:
            return sentence(survey.error)
        if survey.grid is None:
            return _("Looking at the segmentation ...")
        selection = self.logic.selection(parameters.segmentation)
        if not selection.labelled or not selection.segment_ids:
            return _("Paint at least two slices first.")
        if len(selection.labelled) == 1 and not parameters.fillAll:
            return _("Paint one more slice: nothing lies between yet.")
        return ""

    # --- what the user does

    def _changeRecord(self, change):
        node = self._parameterNode.segmentation if self._parameterNode is not None else None
        if node is not None:
            change(PaintRecord.of_node(node)).keep(node)
            self._showSelection()

    def _onAxisChosen(self, row):
        axis = self.ui.axisComboBox.itemData(row)
        self._changeRecord(lambda record: record.with_axis(axis if axis >= 0 else None))

    def _onEngineChosen(self, row):
        if self._parameterNode is not None:
            self._parameterNode.engine = self.ui.engineComboBox.itemData(row)

    def _onSliceChecked(self, item):
        if item.column() == 0:
            index, used = item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked
            self._changeRecord(lambda record: record.with_slice(index, used))

    def _onSliceClicked(self, row, column):
        index = self.ui.slicesTable.item(row, 0).data(qt.Qt.UserRole)
        node, grid = self._parameterNode.segmentation, self.logic.survey.grid
        selection = self.logic.selection(node)
        if grid is not None and selection.axis is not None:
            self.ui.sliceSpinBox.setValue(index)
            jump_to_slice(node, grid, SliceAxis(selection.axis), index)

    def _onSegmentChecked(self, item):
        name, checked = item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked
        if item.column() == 0:
            self._changeRecord(lambda record: record.with_segment(name, checked))
        else:
            set_locked(self._parameterNode.segmentation.GetSegmentation().GetSegment(name), checked)
            self._showSelection()

    def _onCurrentSlice(self, checked=False):
        node, grid = self._parameterNode.segmentation, self.logic.survey.grid
        if node is not None and grid is not None:
            index = current_slice(node, grid, SliceAxis(self.logic.selection(node).axis or 0))
            if index is not None:
                self.ui.sliceSpinBox.setValue(index)

    def _onMarkSlice(self, checked=False):
        index = self.ui.sliceSpinBox.value
        self._changeRecord(lambda record: record.with_slice(index, True))

    def _onFill(self, checked=False):
        self._attempt(lambda: offer(self._parameterNode.engine) and self.logic.fill(self._parameterNode))
        self._showRun()

    def _attempt(self, step):
        """Take a step that may refuse its input; say why if it does."""
        try:
            return step()
        except InputError as error:
            tell(error)
            return True

    def _onResume(self, checked=False):
        self.logic.controller.resume()

    def _onKeep(self, checked=False):
        self.logic.cancel(keep=True)

    def _onCancel(self, checked=False):
        self.logic.cancel(keep=False)
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


def _choose(comboBox, data):
    row = comboBox.findData(data)
    if row >= 0 and row != comboBox.currentIndex:
        comboBox.blockSignals(True)
        comboBox.setCurrentIndex(row)
        comboBox.blockSignals(False)


def _setCheckItem(table, row, column, text, checked, data, reason=""):
    """Show a check box with a text; with a reason it cannot be changed. Items stay: one may be being clicked."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(reason or text)
    item.setData(qt.Qt.UserRole, data)
    item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
    enabled = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable
    item.setFlags(qt.Qt.ItemIsSelectable if reason else enabled)


def _sameNode(one, other):
    """Whether two wrapped parameter nodes are the same node."""
    if one is None or other is None:
        return one is other
    return one.parameterNode is other.parameterNode


class FewShotAnnotateTest(ScriptedLoadableModuleTest):
    """The main job inside Slicer, on a real volume from Sample Data."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all tests of this class."""
        self.setUp()
        self.test_fillHead()

    def test_fillHead(self):
        """Every 10th slice painted with the head's outline is filled; painted slices stay; undo takes it back."""
        import time

        import numpy as np
        import SampleData

        volume = SampleData.SampleDataLogic().downloadSample("MRHead")
        truth = slicer.util.arrayFromVolume(volume) > 30
        painted = np.zeros_like(truth)
        painted[5:-5:10] = truth[5:-5:10]
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Head")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentId = node.GetSegmentation().AddEmptySegment("head", "head")
        slicer.util.updateSegmentBinaryLabelmapFromArray(painted.astype(np.uint8), node, segmentId, volume)
        slicer.util.selectModule("FewShotAnnotate")
        widget = slicer.modules.FewShotAnnotateWidget
        parameters = widget.logic.getParameterNode()
        parameters.volume, parameters.segmentation = volume, node

        def waitUntil(reached, seconds=120):
            deadline = time.monotonic() + seconds
            while not reached():
                self.assertLess(time.monotonic(), deadline, widget.ui.statusLabel.text)
                slicer.app.processEvents()
                time.sleep(0.01)

        waitUntil(lambda: widget.ui.fillButton.enabled)
        self.delayDisplay("Painted slices found")
        widget.ui.fillButton.click()
        waitUntil(lambda: widget.logic.controller.state is not State.IDLE)  # a fill waits for the survey
        waitUntil(lambda: widget.logic.controller.state is State.IDLE)
        result = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volume) > 0
        np.testing.assert_array_equal(result[5:-5:10], truth[5:-5:10])
        last = len(truth) - 5 - (len(truth) - 11) % 10
        inside = [index for index in range(5, last) if (index - 5) % 10]
        dice = 2.0 * (result[inside] & truth[inside]).sum() / (result[inside].sum() + truth[inside].sum())
        self.assertGreater(dice, 0.9)
        widget.ui.segmentEditor.undo()
        undone = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volume) > 0
        np.testing.assert_array_equal(undone, painted)
        self.delayDisplay(f"Filled with Dice {dice:.3f}; undone in one step")
