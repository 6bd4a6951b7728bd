"""SurfaceRun: the closed surfaces of the segments that a commit changes, made in a separate process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ....core.errors import InputError
from ....core.events import Event, Failed
from ....core.slice_axis import SliceAxis
from ....jobs.process import WorkerProcess
from ...annotation.record import AxisRecord
from ...i18n import tr as _
from ...messages import error_text
from ...mrml.grid import ImageSource, SegmentationGrid
from ...mrml.reading import ijk_to_ras
from ..changed_layers import ChangedLayer, changed_layers
from ..changes import Box, Changes, MaskPieces
from ..edit_rules import EditRules
from ..fill_result import FillResult, compute_result
from ..run_plan import PreparedRun
from .conversion import SurfaceSettings
from .folder import SurfaceFolder

_FOLDER = "surfaces"


class SurfaceProcess(WorkerProcess):
    """The process that makes the surfaces; started, polled and cancelled as the worker of a run."""

    script: ClassVar[Path] = Path(__file__).resolve().with_name("worker.py")


class SurfaceRun:
    """Surfaces of segments as they will be after some changes. Made in a background thread.

    Parameters
    ----------
    run_folder : Path
        Folder of the run; surfaces of an earlier attempt at the same commit are used again.
    grid : SegmentationGrid
        The segmentation before the changes.
    changes : Changes
    settings : SurfaceSettings

    Raises
    ------
    OSError, InputError
        The masks cannot be written.
    """

    def __init__(self, run_folder: Path, grid: SegmentationGrid, changes: Changes, settings: SurfaceSettings) -> None:
        matrix = ijk_to_ras(grid.geometry, grid.first)
        boxes = masks_after(grid, changes)
        self._folder, self._names = SurfaceFolder.write(run_folder / _FOLDER, boxes, grid.first, matrix, settings)

    def start(self, python: str) -> SurfaceProcess:
        """Start the process that makes them."""
        process = SurfaceProcess(self._folder, python)
        process.start()
        return process

    def read(self) -> dict[str, Any]:
        """Segment id -> vtkPolyData of the surfaces that have been made. For a background thread."""
        found = {segment_id: self._folder.read_surface(name) for segment_id, name in self._names.items()}
        return {segment_id: surface.poly_data() for segment_id, surface in found.items() if surface is not None}


@dataclass(frozen=True)
class ComputedCommit:
    """What a run commits.

    Attributes
    ----------
    found : FillResult
    layers : list of ChangedLayer or None
        Labelmaps after the changes; None if Slicer's editor logic has to write these.
    surfaces : SurfaceRun or None
        The process that makes the surfaces first; None if Slicer converts them.
    """

    found: FillResult
    layers: list[ChangedLayer] | None
    surfaces: SurfaceRun | None


def masks_after(grid: SegmentationGrid, changes: Changes) -> Mapping[str, Box]:
    """Segment id -> voxels, after the changes, of each segment that they change; none of those that lose all."""
    axis, ids = SliceAxis(0), changes.segment_ids
    shape = grid.slice_shape(axis)
    window = (slice(0, shape[0]), slice(0, shape[1]))
    pieces = MaskPieces(axis)
    for index in range(grid.geometry.shape[0]):
        masks = changes.applied(grid.segment_slices(ids, axis, index), axis, index, shape)
        for segment_id, mask in masks.items():
            pieces.mark(segment_id, index, window, mask)
    return pieces.boxes()


def surface_run(
    run_folder: Path, grid: SegmentationGrid, changes: Changes, settings: SurfaceSettings | None
) -> SurfaceRun | None:
    """A run as `SurfaceRun`.

    Returns
    -------
    SurfaceRun or None
        None if no surface is shown, nothing changes, the grid does not hold all voxels, or the disk is full.
    """
    if settings is None or not changes.segment_ids or grid.is_cropped:
        return None
    try:
        return SurfaceRun(run_folder, grid, changes, settings)
    except (OSError, InputError):  # Slicer converts the surfaces, as without this
        return None


def compute_commit(
    prepared: PreparedRun,
    run_folder: Path,
    grid: SegmentationGrid,
    image: ImageSource,
    record: AxisRecord,
    rules: EditRules,
    version: tuple[object, ...],
    settings: SurfaceSettings | None,
) -> ComputedCommit:
    """Changes that a run commits, and the surfaces to make of them. Touches no node: for a background thread."""
    found = compute_result(prepared, grid, image, record, rules, version)
    layers = changed_layers(grid, found.changes)
    return ComputedCommit(found, layers, surface_run(run_folder, grid, found.changes, settings))


def surface_warnings(ending: Event | None) -> list[str]:
    """Sentence about a failed process of surfaces; empty if it did not fail."""
    if not isinstance(ending, Failed):
        return []
    text = _("The surfaces shown in 3D could not be made in the background: {reason}")
    return [text.format(reason=error_text(ending.content))]
