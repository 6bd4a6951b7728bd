"""ActiveRun: one run under way, its worker, and the preview of the slices that have arrived."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from ...core.errors import InputError
from ...core.events import Event, Expected, Progress, SliceDone, Warned
from ...jobs.layers import LayerRun, OverallProgress, layer_runs
from ...jobs.live_process import LiveProcess
from ...jobs.live_requests import LiveRequest
from ...jobs.process import WorkerProcess
from ...jobs.run_folder import JobFolder
from ..i18n import tr as _
from ..messages import error_text
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import ImageSource
from ..mrml.node_types import Scene, SegmentationNode
from .fill_result import listed
from .preview import Preview, PreviewSegment
from .run_plan import PreparedRun, RunPlan
from .run_store import RunFolder
from .surfaces.surface_run import ComputedCommit
from .unfinished_run import RunReference

_GREY = (0.5, 0.5, 0.5)
_WAIT_SECONDS = 5.0
# Time limit for showing slices in one call of `follow_worker`; the others follow in the next one.
MAX_SHOW_SECONDS = 0.01


class ActiveRun:
    """One run. Nodes are stored by id and looked up when needed, because the user may remove them at any time.

    Parameters
    ----------
    scene : vtkMRMLScene
    nodes : ChosenNodes
    plan : RunPlan
    folder : RunFolder
    resumed : bool
        Whether the run was begun before, by this or another process.
    live : bool
        Whether its worker keeps running and receives requests.

    Attributes
    ----------
    previous : RunReference
        The reference that the segmentation node held before this run.
    stopping : bool
        Whether the run ends with the slices that are finished.
    progress : Progress
    warnings : list of str
    expected : dict of str to (str, Expected)
        Segment id -> its name and expected Dice, of the drafts and later of the final slices.
    prepared, preview, process : None until they exist
    surfaces : ComputedCommit or None
        The commit that waits for `process` to make its surfaces.
    to_show : deque of (int, int)
        Layer and index of slices that are not in the preview yet.
    """

    def __init__(
        self,
        scene: Scene,
        nodes: ChosenNodes,
        plan: RunPlan,
        folder: RunFolder,
        resumed: bool = False,
        live: bool = False,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.resumed = resumed
        self.live = live
        self.segmentation_id, self.volume_id = nodes.segmentation.GetID(), nodes.volume.GetID()
        self.previous = RunReference() if resumed else RunReference.read(nodes.segmentation)
        self.stopping = False
        self.progress = Progress(done=0, total=len(plan.query_slices), eta=None)
        self.warnings: list[str] = []
        self.expected: dict[str, tuple[str, Expected]] = {}
        self.prepared: PreparedRun | None = None
        self.preview: Preview | None = None
        self.process: WorkerProcess | None = None
        self.surfaces: ComputedCommit | None = None
        self.to_show: deque[tuple[int, int]] = deque()
        self._shown: set[int] = set()
        self._scene = scene
        self._segments = _preview_segments(nodes.segmentation, plan)
        self._layer_runs: list[LayerRun] = []  # the current one, then those that follow
        self._overall = OverallProgress(1)

    @property
    def nodes(self) -> ChosenNodes:
        """The nodes that still exist."""
        return ChosenNodes(self._scene.GetNodeByID(self.volume_id), self._scene.GetNodeByID(self.segmentation_id))

    @property
    def names(self) -> dict[str, str]:
        """Segment id -> name of the segments to fill, when the run began."""
        return {name: self._segments[name].name for name in self.plan.segment_ids}

    @property
    def has_more_layers(self) -> bool:
        """Whether another worker follows the present one."""
        return len(self._layer_runs) > 1

    def require_nodes(self) -> None:
        """Check that the nodes still exist.

        Raises
        ------
        InputError
            The user removed one of them.
        """
        if self.nodes.segmentation is None:
            raise InputError("segmentation_gone")
        if self.nodes.volume is None:
            raise InputError("volume_gone")

    def mark(self, reference: RunReference) -> None:
        """Store on the segmentation node which run works on it."""
        node = self.nodes.segmentation
        if node is not None:
            reference.write(node)

    def open_preview(self, prepared: PreparedRun, image: ImageSource) -> bool:
        """Open the preview, which first shows the slices that an earlier process finished.

        Parameters
        ----------
        prepared : PreparedRun
        image : ImageSource
            The volume; a warning names the slices of the run that it does not reach.

        Returns
        -------
        bool
            Whether slices are left to fill.
        """
        self.prepared = prepared
        self._warn_of_slices_outside(image)
        layers = [[self._segments[name] for name in layer] for layer in prepared.layers]
        self.preview = Preview(self.nodes.segmentation, self.plan.geometry, layers)
        self._layer_runs = layer_runs(self.plan.job.engine, len(layers))
        self._overall = OverallProgress(len(layers))
        if self.resumed:
            self._restore_finished(prepared)
        return bool(self._layer_runs) and not self.stopping and not (self.resumed and self.plan.live)

    def start_worker(self, python: str) -> None:
        """Start the worker of the next layer."""
        assert self.prepared is not None
        previous = self.process
        if previous is not None:
            previous.wait(_WAIT_SECONDS)  # it has ended or was killed
        layer_run = self._layer_runs[0]
        folder = self.prepared.folders[layer_run.layer]
        if not self.live:
            self.process = WorkerProcess(folder, python, layer_run.drafts_only)
            self.process.start()
            return
        self.process = process = LiveProcess(folder, python)
        process.start()
        if isinstance(previous, LiveProcess) and previous.unfinished is not None:
            process.request(previous.unfinished)

    def start_surfaces(self, computed: ComputedCommit, python: str) -> None:
        """Start the process that makes the surfaces of what is to be committed."""
        assert computed.surfaces is not None
        self.surfaces = computed
        self.process = computed.surfaces.start(python)

    def start_next_layer(self, python: str) -> None:
        """Start the worker of the layer after the present one."""
        del self._layer_runs[0]
        self.start_worker(python)

    def follow_worker(self) -> bool:
        """Handle the worker's events and show slices, for at most `MAX_SHOW_SECONDS`.

        Returns
        -------
        bool
            Whether the worker runs or slices are still to be shown.
        """
        assert self.process is not None
        assert self.prepared is not None
        deadline = time.monotonic() + MAX_SHOW_SECONDS
        for event in self.process.poll():
            self._handle_event(self.prepared, event)
        self._show_slices(self.prepared, deadline)
        return self.process.running or bool(self.to_show)

    @property
    def outstanding(self) -> int:
        """How many slices the worker of a live run still has to fill."""
        return len(self.process.outstanding) if isinstance(self.process, LiveProcess) else 0

    @property
    def has_pending_request(self) -> bool:
        """Whether the worker of a live run has a request to take or to fill."""
        return isinstance(self.process, LiveProcess) and self.process.pending

    def send_request(self, request: LiveRequest) -> None:
        """Ask the worker of a live run for slices, and show only slices between labelled ones."""
        assert isinstance(self.process, LiveProcess)
        assert self.preview is not None
        self.process.request(request)
        fillable = set(request.support.unlabelled(request.support.labelled_range()))
        valid = fillable - self.process.outstanding
        self.to_show = deque((layer, index) for layer, index in self.to_show if index in valid)
        for index in self._shown - fillable:
            self.preview.write(0, self.plan.axis, index, np.zeros(1, dtype=np.uint8))
        self._shown &= fillable

    def kill_worker(self) -> None:
        """End the worker at once; no commit waits for its surfaces any more."""
        if self.process is not None:
            self.process.kill()
        self.surfaces = None

    def remove_preview(self) -> None:
        """Remove the preview from the scene."""
        if self.preview is not None:
            self.preview.remove()

    def end_worker(self, release: Callable[[RunFolder], None]) -> Callable[[], None]:
        """End the worker at once.

        Returns
        -------
        function
            Deletes or releases the folder once the worker has ended; for a background thread.
        """
        process, folder = self.process, self.folder
        if process is not None:
            process.cancel()  # for a worker of which only the launcher can be killed
            process.kill()

        def finish() -> None:
            if process is not None:
                process.wait(_WAIT_SECONDS)
            release(folder)

        return finish

    def _restore_finished(self, prepared: PreparedRun) -> None:
        """Show the slices that an earlier process finished, and run only the remaining layers."""
        self._layer_runs = [run for run in self._layer_runs if not _is_done(prepared.folders[run.layer], run)]
        for number, (folder, layer) in enumerate(zip(prepared.folders, prepared.layers, strict=True)):
            done = folder.finished()
            self.to_show.extend((number, index) for index in self.plan.query_slices if done[index])
            for label_dice in folder.expected():
                expected = Expected(label_dice.label, label_dice.dice, label_dice.low, label_dice.high)
                self.expected[layer[label_dice.label - 1]] = (
                    self._segments[layer[label_dice.label - 1]].name,
                    expected,
                )

    def _warn_of_slices_outside(self, image: ImageSource) -> None:
        used = {*self.plan.labelled, *self.plan.query_slices}
        outside = [index for index in image.slices_outside(self.plan.axis, self.plan.geometry.shape) if index in used]
        if outside:
            text = _("Volume {name} does not reach these slices, where values of its edge are used: {slices}.")
            self.warnings.append(text.format(name=self.nodes.volume.GetName(), slices=listed(outside)))

    def _handle_event(self, prepared: PreparedRun, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress = self._overall.updated(self._layer_runs[0], event)
        elif isinstance(event, SliceDone):
            self.to_show.append((self._layer_runs[0].layer, event.index))
        elif isinstance(event, Expected):
            name = prepared.layers[self._layer_runs[0].layer][event.label - 1]
            self.expected[name] = self._segments[name].name, event
        elif isinstance(event, Warned):
            text = error_text(event.content)
            if text not in self.warnings:  # several layers warn of the same
                self.warnings.append(text)

    def _show_slices(self, prepared: PreparedRun, deadline: float) -> None:
        if self.preview is None:
            return
        while self.to_show and time.monotonic() < deadline:
            layer, index = self.to_show[0]
            labels = prepared.folders[layer].result_slice(index)
            self.preview.write(layer, self.plan.axis, index, labels)
            self._shown.add(index)
            self.to_show.popleft()
        self.preview.follow(self.nodes.segmentation)
        self.preview.redraw()


def _preview_segments(segmentation_node: SegmentationNode, plan: RunPlan) -> dict[str, PreviewSegment]:
    """Name and colour of each segment; a resumed run may name segments that were removed."""
    segments = {}
    for name, text in plan.names.items():
        segment = segmentation_node.GetSegmentation().GetSegment(name)
        segments[name] = (
            PreviewSegment(text, _GREY) if segment is None else PreviewSegment(segment.GetName(), segment.GetColor())
        )
    return segments


def _is_done(folder: JobFolder, run: LayerRun) -> bool:
    """Whether a layer of a resumed run is complete."""
    done = folder.finished()
    return all(run.drafts_only and done[index] for index in folder.pending())
