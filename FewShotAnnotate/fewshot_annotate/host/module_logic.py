"""ModuleLogic: the module without its panel, on the application's scene."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from ..core.errors import InputError
from ..core.job import Device
from ..core.python_executable import python_executable
from ..core.slice_axis import SliceAxis
from ..datasets.accepting import LabelHistory
from .annotation.annotations import SliceAnnotations
from .annotation.review_rows import RefillRequest
from .comparison.controller import CompareController
from .datasets.controller import DatasetController
from .diagnostics.run_log import RunLog
from .engines.state import EngineStateMonitor
from .export.controller import ExportController
from .fill.controller import FillController
from .fill.preparation import FillSettings
from .fill.run_editor import RunEditor
from .fill.run_state import State
from .fill.suggestion import SuggestionFinder
from .mrml.chosen_nodes import ChosenNodes
from .mrml.further_volumes import further_volumes
from .mrml.sequence import require_no_sequence
from .review.controller import ReviewController
from .settings import Settings
from .tasks import Signal

# The engine of live runs: it has no network to fit.
LIVE_ENGINE = "propagate"


class ModuleLogic(ScriptedLoadableModuleLogic):
    """Base of the class that Slicer knows; one controller for each thing that the module does.

    Attributes
    ----------
    parameters : wrapped parameter node or None
        What the user chose; None while a scene is closed.
    surveyed : Signal
        Emitted when `poll` has found new painted slices.
    panelEditor : RunEditor
        The Segment Editor of the panel; without a panel, nothing is saved for undo.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.parameters: Any = None
        self._readsOnce = False
        self._chosen: ChosenNodes | None = None  # of the present block of `readOnce`
        self.surveyed: Signal[[]] = Signal()
        self.settings = Settings(slicer.app.userSettings())
        self.log = RunLog(self.settings)
        self.annotations = SliceAnnotations()
        self.engines = EngineStateMonitor()
        self.review = ReviewController(self.rawParameterNode, self.chosenNodes, self.annotations)
        scene, python, grids = slicer.mrmlScene, python_executable(), self.annotations.grids
        self.suggestion = SuggestionFinder(grids, python)
        self.compare = CompareController(scene, python, self.settings.device_for, grids)
        self.dataset = DatasetController(
            scene, python, self.settings.device_for, self._labelHistory, self._isSurveyed
        )
        self.fillRequested = self.fillLive = False
        self.refillRequest: RefillRequest | None = None
        self.panelEditor = RunEditor(lambda node: None, self.segmentEditorNode)
        self.controller = FillController(scene, self.panelEditor, python, grids)
        self.controller.committed.connect(self.review.add_run)
        self.database = getattr(slicer, "dicomDatabase", None)
        self.export = ExportController(self.database)

    def rawParameterNode(self) -> Any:
        """The parameter node, not wrapped; None if there is none, as while a scene closes."""
        return slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")

    def segmentEditorNode(self) -> Any:
        """The editor node of our own panel, so that the Segment Editor module keeps its settings."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node

    def chosenNodes(self) -> ChosenNodes:
        """The nodes that the user chose."""
        if self.parameters is None:
            return ChosenNodes()
        if not self._readsOnce or self._chosen is None:
            self._chosen = self._nodes(self.parameters)
        return self._chosen

    @contextmanager
    def readOnce(self) -> Iterator[None]:
        """Within the block, the chosen nodes and the state of their slices are read once, and again after a write.

        Dozens of widgets ask for both, ten times a second. After a change of the chosen nodes, call `chosenChanged`.
        """
        outer, self._readsOnce = self._readsOnce, True
        try:
            with self.annotations.read_once():
                yield
        finally:
            self._readsOnce = outer
            if not outer:
                self._chosen = None

    def segmentationChanged(self) -> None:
        """Another segmentation was chosen: clear what is known of the other one."""
        self.annotations.clear()
        self.suggestion.reset()
        self._clearLastRun()

    def _clearLastRun(self) -> None:
        """Clear how the last run ended, once it no longer concerns what is shown."""
        controller = self.controller
        if controller.state is State.IDLE:
            controller.message, controller.error, controller.warnings, controller.expected = "", None, [], {}

    def chosenChanged(self) -> None:
        """The user or the scene changed which nodes are chosen."""
        self._chosen = None

    def _nodes(self, parameters: Any) -> ChosenNodes:
        further = further_volumes(self.rawParameterNode(), parameters.volume)
        return ChosenNodes(parameters.volume, parameters.segmentation, further)

    def fill(
        self,
        parameters: Any,
        editor: RunEditor | None = None,
        refill: RefillRequest | None = None,
        live: bool = False,
    ) -> None:
        """Start a run with what the parameter node says, as soon as all that was painted is known.

        Undo and masking are those of `editor`, or of the panel's own. With a RefillRequest only its slices are
        filled; a live one follows what is painted. Raises InputError; so does `poll` if the run starts later.
        """
        self.fillLive = live
        self.controller.editor = editor or self.panelEditor
        self.fillRequested, self.refillRequest = True, refill
        self._startWhenSurveyed(parameters)

    def suggest(self, parameters: Any) -> None:
        """Start to search for the slice to paint next; `suggestion` returns the result. Raises InputError."""
        nodes = self._nodes(parameters)
        settings, grid = self.fillSettings(parameters), self.annotations.survey.grid
        assert grid is not None
        settings = replace(settings, slices=range(settings.axis.count(grid.geometry)))
        self.suggestion.start(nodes, settings)

    def cancel(self, keep: bool) -> None:
        """Stop the run, or do not start it."""
        self.fillRequested = False
        self.controller.cancel(keep)

    def fillSettings(self, parameters: Any) -> FillSettings:
        """Settings of a run with what the parameter node says. Raises InputError."""
        require_no_sequence(parameters.volume)
        survey, refill = self.annotations.survey, self.refillRequest
        if survey.error is not None:
            raise survey.error
        selection = self.annotations.snapshot(parameters.segmentation).selection
        if selection.axis is None or not selection.labelled or survey.grid is None:
            raise InputError("no_labelled_slice", path=parameters.segmentation.GetName())
        axis = SliceAxis(selection.axis)
        slices = range(axis.count(survey.grid.geometry)) if parameters.fillAll or self.fillLive else None
        return FillSettings(
            segment_ids=selection.segment_ids,
            axis=axis,
            labelled=selection.labelled,
            slices=refill.slices if refill is not None else slices,
            engine=LIVE_ENGINE if self.fillLive else parameters.engine,
            device=Device.AUTO if self.fillLive else self.settings.device_for(parameters.engine),
            live=self.fillLive,
            complete=parameters.complete,
            may_overwrite=parameters.mayOverwrite,
            keep=self.review.accepted_slices,
        )

    @property
    def busy(self) -> bool:
        """Whether background work is under way."""
        return self.controller.busy or self.annotations.survey.busy or self.engines.busy or self.suggestion.busy

    def poll(self, parameters: Any) -> None:
        """One bounded step of run and survey."""
        self.controller.poll()
        self.log.log_state("run", self.controller.state, self.controller.error)
        self.log.log_state("comparison", self.compare.state, self.compare.error)
        self._pollSurvey(parameters)
        self._startWhenSurveyed(parameters)

    def _pollSurvey(self, parameters: Any) -> None:
        if self.annotations.poll(ChosenNodes(parameters.volume, parameters.segmentation)):
            if self.controller.error is None and self._isLastRunUndone(parameters.segmentation):
                self._clearLastRun()
            self.surveyed.emit()
            if self.controller.live and not self.annotations.survey.busy:
                self.controller.update(self._nodes(parameters), lambda: self.fillSettings(parameters))

    def _isLastRunUndone(self, segmentation: Any) -> bool:
        survey = self.annotations.survey
        if segmentation is None or survey.busy:
            return False
        record = self.annotations.snapshot(segmentation).record
        checksums = survey.result.checksums_for(record)
        return bool(checksums) and not record.present.holds_last_run(checksums)

    def _isSurveyed(self) -> bool:
        """Advance the survey by one step; True if it includes the last stroke or there is nothing to survey."""
        if self.annotations.survey.busy and self.parameters is not None:
            self._pollSurvey(self.parameters)
        return self.parameters is None or not self.annotations.survey.busy

    def reset(self) -> None:
        """Suspend the run and clear what is known of the slices, because the scene is about to be closed."""
        self.fillRequested = False
        self.controller.suspend()
        self.annotations.clear()
        self.suggestion.reset()

    def close(self) -> None:
        """Stop everything for good."""
        self.fillRequested = False
        self.surveyed.disconnect_all()
        owners = (self.controller, self.annotations, self.engines, self.suggestion, self.review, self.compare)
        for owner in (*owners, self.export, self.dataset, self.log):
            owner.close()

    def _labelHistory(self) -> LabelHistory | None:
        nodes = self.chosenNodes()
        return self.annotations.label_history(nodes, self.parameters.engine) if nodes.complete else None

    def _startWhenSurveyed(self, parameters: Any) -> None:
        if not self.fillRequested or self.annotations.survey.busy:
            return
        self.fillRequested = False
        nodes = self._nodes(parameters)
        if nodes.complete:
            self.controller.start(nodes, self.fillSettings(parameters))
