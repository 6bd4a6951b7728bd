"""BatchReview: a batch folder in Slicer. Shows one case after the other, and writes down which of them are accepted.

Files are read and written in a thread; `poll` puts what was read into the scene. The panel calls it from its timer as
long as `busy`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..core.disk import unwritable_error
from ..core.errors import InputError
from ..core.file_transaction import FileTransaction
from ..core.reading import DamagedContentError, decoding
from ..core.regrid import regrid
from ..core.results import write_results
from ..core.slice_axis import SliceAxis
from ..core.temporary import TemporaryFolder
from ..core.volume import Geometry, LabelMap, Segment, Volume
from ..datasets.batch_folder import BatchFolder, CaseFiles, add_copy
from ..datasets.case import write_preview
from ..datasets.status import CaseStatus, Status
from ..io.files import read_label_maps, read_volume, write_label_maps
from ..io.label_names import move_label_map, sidecar_path
from .chosen_nodes import ChosenNodes
from .mrml.reading import BINARY_LABELMAP, ijk_to_ras, labels_version, read_grid
from .tasks import BackgroundTasks
from .unexpected_errors import as_input_error

REVIEW_ATTRIBUTE = "FewShotAnnotate.Review"


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A case as its files hold it."""

    name: str
    files: CaseFiles
    volume: Volume
    label_map: LabelMap
    axis: SliceAxis
    labelled: tuple[int, ...]
    digests: dict[str, str]  # of the label map and its names


@dataclass
class _Shown:
    """A case in the scene."""

    read: _Read
    volume_id: str
    segmentation_id: str
    version: tuple[object, ...]


class BatchReview:
    """One batch folder.

    Parameters
    ----------
    scene
        The MRML scene.
    path : str or Path
        The folder that `batch` wrote.

    Raises
    ------
    InputError
        The folder holds no batch.
    """

    def __init__(self, scene: Any, path: str | Path) -> None:
        self._folder = BatchFolder(path)
        if not self._folder.status.path.is_file():
            raise InputError("no_batch", path=path)
        self._scene = scene
        self._tasks = BackgroundTasks("batch-review")
        self._shown: _Shown | None = None
        self._cases: dict[str, CaseStatus] = {}
        self.reload()

    @property
    def cases(self) -> tuple[CaseStatus, ...]:
        """The table as it was read last."""
        return tuple(self._cases.values())

    def reload(self) -> None:
        """Read the table again; a batch may still be at work."""
        self._cases = self._folder.status.read()

    @property
    def current(self) -> str | None:
        """Name of the case in the scene."""
        return self._shown.read.name if self._shown else None

    @property
    def nodes(self) -> ChosenNodes:
        """Image and result of the case in the scene, None where there is none or the user removed it."""
        if self._shown is None:
            return ChosenNodes()
        ids = self._shown.volume_id, self._shown.segmentation_id
        return ChosenNodes(*(self._scene.GetNodeByID(identifier) for identifier in ids))

    @property
    def changed(self) -> bool:
        """Whether the result was edited since it was shown."""
        node = self.nodes.segmentation
        return node is not None and self._shown is not None and _version(node) != self._shown.version

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        return self._tasks.awaited

    def preview(self, name: str) -> Path | None:
        """Picture of a case, None if there is none."""
        path = self._folder.case(name).preview
        return path if path.is_file() else None

    def show(self, name: str) -> None:
        """Begin to read a case that is done; it takes the place of the one in the scene, edited or not.

        Raises
        ------
        InputError
            Something is under way, or the case is not done.
        """
        self._require_idle()
        self._tasks.start(partial(_read, name, self._folder), self._put)

    def accept(self) -> None:
        """Take the case in the scene: begin to write its result if it was edited, and the table.

        The result as it was filled is kept as label.filled.nii.gz.

        Raises
        ------
        InputError
            Something is under way, no case is shown, or its segments overlap.
        """
        self._require_idle()
        if self._shown is None or self.nodes.segmentation is None:
            raise InputError("review_nothing")
        read = self._shown.read
        corrected = self._corrected() if self.changed else None
        version = _version(self.nodes.segmentation)

        def written(result: tuple[dict[str, CaseStatus], dict[str, str]]) -> None:
            self._cases, digests = result
            if self._shown is not None and self._shown.read is read:
                self._shown.version = version
                self._shown.read = replace(read, digests=digests)

        self._tasks.start(partial(_write, read, corrected, self._folder), written)

    def reset(self, name: str) -> None:
        """Take a case's acceptance back."""
        self._require_idle()
        if self._cases.get(name) is not None:
            self._cases = self._folder.status.set_accepted(name, False)

    def next(self) -> str | None:
        """Name of the case to look at after the one in the scene: done, not accepted; None if there is none."""
        names = list(self._cases)
        start = names.index(self.current) + 1 if self.current in names else 0
        for name in (*names[start:], *names[:start]):
            if name != self.current and self._cases[name].status is Status.DONE and not self._cases[name].accepted:
                return name
        return None

    def poll(self) -> None:
        """Let the thread work for a moment; do in the scene what follows from what it finished.

        Raises
        ------
        InputError
            What was begun could not be done; the scene and the table are as they were.
        """
        try:
            self._tasks.poll()
        except Exception as error:
            raise as_input_error(error) from None

    def wait(self) -> None:
        """Tick until nothing is under way. For scripts: it blocks."""
        while self.busy:
            self.poll()

    def clear(self) -> None:
        """Take the case out of the scene."""
        for node in (self.nodes.segmentation, self.nodes.volume):
            if node is not None:
                for display in [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]:
                    self._scene.RemoveNode(display)
                self._scene.RemoveNode(node)
        self._shown = None

    def close(self) -> None:
        """Take the case out of the scene and end the thread; what is being written is still written."""
        self.clear()
        self._tasks.close()

    def _require_idle(self) -> None:
        if self.busy:
            raise InputError("review_busy")

    def _put(self, read: _Read) -> None:
        self.clear()
        volume_node = _add_volume(self._scene, read)
        try:
            node = _add_segmentation(self._scene, read, volume_node)
        except BaseException:
            self._scene.RemoveNode(volume_node)
            raise
        self._shown = _Shown(read, volume_node.GetID(), node.GetID(), _version(node))

    def _corrected(self) -> LabelMap:
        """The segmentation in the scene as one label map on the volume's grid."""
        assert self._shown is not None
        node, read = self.nodes.segmentation, self._shown.read
        grid = read_grid(node, self.nodes.volume)
        known = {_segment_id(segment): segment for segment in read.label_map.segments}
        free = iter(sorted(set(range(1, 65536)) - {segment.value for segment in known.values()}))
        array = np.zeros(grid.geometry.shape, dtype=np.uint16)
        segments = []
        size = grid.geometry.shape
        for segment_id in node.GetSegmentation().GetSegmentIDs():
            shown = node.GetSegmentation().GetSegment(segment_id)
            before = known.get(segment_id)
            value = before.value if before else next(free)
            tags = before.tags if before else {}
            segments.append(Segment(value=value, name=shown.GetName(), colour=tuple(shown.GetColor()), tags=tags))
            mask = grid.segment_box(segment_id, (0, 0, 0), size)
            if (array[mask] != 0).any():
                raise InputError("review_overlap", segment=shown.GetName())
            array[mask] = value
        kept = array.astype(np.uint8) if array.max() <= 255 else array
        corrected = LabelMap(kept, grid.geometry, tuple(segments))
        try:
            return regrid([corrected], read.volume.geometry).layers[0]
        except InputError:
            raise InputError("review_off_grid", name=node.GetName()) from None


def _read(name: str, folder: BatchFolder) -> _Read:
    files = folder.case(name)
    record = files.read_record()
    if record is None:
        raise InputError("review_not_done", name=name)
    request, outcome = record
    try:
        with decoding():
            path = Path(request["image"]["path"])
            axis = SliceAxis(outcome["axis"])
            labelled = tuple(int(index) for index in outcome["labelled_slices"])
    except DamagedContentError:
        raise InputError("review_not_done", name=name) from None
    volume = read_volume(path, request.get("series"))
    digests = files.digests()
    (label_map,) = read_label_maps(files.label, volume.geometry)
    return _Read(
        name=name, files=files, volume=volume, label_map=label_map, axis=axis, labelled=labelled, digests=digests
    )


def _write(
    read: _Read, corrected: LabelMap | None, folder: BatchFolder
) -> tuple[dict[str, CaseStatus], dict[str, str]]:
    """Write a corrected result if there is one, and that the case is accepted; returns the table, and the digests.

    A corrected result that cannot be written is kept where there is room.
    """
    rows: dict[str, CaseStatus] = {}

    def write(path: Path) -> None:
        if path == read.files.label:
            rows.update(_accepted(read, corrected, folder))
        elif corrected is not None:  # where it is kept if that fails
            write_label_maps(path, [corrected])

    if corrected is None:
        write(read.files.label)
    else:
        write_results([(read.files.label, write)])
    digests = read.files.digests()
    if corrected is not None:
        with contextlib.suppress(InputError):  # no Pillow in this application: the old picture stays
            write_preview(read.files, read.volume, corrected, read.axis, read.labelled)
    return rows, digests


def _accepted(read: _Read, corrected: LabelMap | None, folder: BatchFolder) -> dict[str, CaseStatus]:
    """Put a corrected result in its place, and accept the case; returns the table.

    The new label map is made beside the old one first. Then, while no batch can begin to fill the case again, the
    case is looked at once more, and files and table are changed together.
    """
    with _made(read, corrected) as new:

        def accept(rows: Mapping[str, CaseStatus], files: FileTransaction) -> list[CaseStatus]:
            row = rows.get(read.name, CaseStatus(name=read.name, status=Status.DONE))
            if not read.files.label.is_file() or (row.status is Status.RUNNING and folder.busy()):
                raise InputError("review_running", name=read.name)
            if new is not None:
                _put_in_place(files, new, read)
            return [replace(row, status=Status.DONE, accepted=True)]

        return folder.status.change_with_files(accept)


@contextlib.contextmanager
def _made(read: _Read, corrected: LabelMap | None) -> Iterator[Path | None]:
    """A label map in a file of its own, which is gone after the block unless it was moved."""
    if corrected is None:
        yield None
        return
    try:
        made = TemporaryFolder(read.files.folder)
    except OSError as error:
        raise unwritable_error(read.files.label, error) from None
    with made as folder:
        new = folder / read.files.label.name
        write_label_maps(new, [corrected])
        yield new


def _put_in_place(transaction: FileTransaction, new: Path, read: _Read) -> None:
    """Let a corrected label map and its names take the place of the case's own; what is replaced is kept."""
    files = read.files
    filled = ((files.label, files.filled), (files.names, sidecar_path(files.filled)))
    if not files.filled.exists():
        for source, target in filled[::-1]:
            if source.exists():
                add_copy(transaction, source, target)
    elif files.digests() != read.digests:  # somebody else corrected it since it was shown
        files.copy_aside(transaction, files.label, files.names)
    move_label_map(transaction, new, files.label)


def _add_volume(scene: Any, read: _Read) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{read.name} image")
    node.SetIJKToRASMatrix(_matrix(read.volume.geometry))
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(read.volume.array))
    node.CreateDefaultDisplayNodes()
    node.SetAttribute(REVIEW_ATTRIBUTE, read.name)
    return node


def _add_segmentation(scene: Any, read: _Read, volume_node: Any) -> Any:
    """Segmentation node whose segments share one labelmap, as label maps do."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", read.name)
    node.SetAttribute(REVIEW_ATTRIBUTE, read.name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    image = _labelmap(read.label_map)
    for one in read.label_map.segments:
        segment = slicer.vtkSegment()
        segment.SetName(one.name)
        segment.SetColor(one.colour)
        segment.SetLabelValue(one.value)
        for tag, text in one.tags.items():
            segment.SetTag(tag, text)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        segmentation.AddSegment(segment, _segment_id(one))
    node.CreateDefaultDisplayNodes()
    return node


def _labelmap(label_map: LabelMap) -> Any:
    k, j, i = label_map.geometry.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    image.SetGeometryFromImageToWorldMatrix(_matrix(label_map.geometry))
    scalars = numpy_to_vtk(np.ascontiguousarray(label_map.array).reshape(-1), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def _matrix(geometry: Geometry) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras(geometry).reshape(-1))
    return matrix


def _segment_id(segment: Segment) -> str:
    return f"Segment_{segment.value}"


def _version(node: Any) -> tuple[object, ...]:
    """Something that is another after every change of a segment's voxels, name or colour."""
    segmentation = node.GetSegmentation()
    named = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
    return (labels_version(node), tuple((segment.GetName(), tuple(segment.GetColor())) for segment in named))
