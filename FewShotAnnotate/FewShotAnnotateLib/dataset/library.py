"""Support library: labelled slices with their image, kept as named tasks in the user's data folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..core import paths
from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.example import QUANTILES
from ..core.lock import lock_held
from ..core.storage import written
from ..core.support import Support
from ..core.temporary import TemporaryFolder
from ..core.volume import Geometry, LabelMap, Segment, Volume
from ..engines.pretrained.weights import home
from .library_task import FILE, KINDS, TERMINOLOGY, LibrarySlice, LibraryTask, Origin, read_task
from .manifest import is_folder_name

_MOST_SLICES = 9999
_WAIT_SECONDS = 10.0
# More voxels than this say no more about a volume's intensities.
_ENOUGH_VOXELS = 1 << 22


def library_folder() -> Path:
    """Where the tasks of this user lie; it need not exist."""
    return home() / "library"


def make_library(library: Path) -> None:
    """Make the folder of all tasks, for the user alone: it holds images of patients."""
    library.parent.mkdir(parents=True, exist_ok=True)
    library.mkdir(0o700, exist_ok=True)


def task_names() -> list[str]:
    """Names of all tasks, in order."""
    folder = library_folder()
    return sorted(path.parent.name for path in folder.glob("[!.]*/task.json")) if paths.is_folder(folder) else []


def task_folder(name: str) -> Path:
    """Folder of the task of this name.

    Raises
    ------
    InputError
        There is no such task.
    """
    if not is_folder_name(name) or not paths.is_file(library_folder() / name / "task.json"):
        raise InputError("library_unknown", name=name, known=", ".join(task_names()) or "none yet")
    return library_folder() / name


def save_slices(
    name: str,
    volume: Volume,
    label_map: LabelMap,
    support: Support,
    *,
    add: bool = False,
    origin: Origin = Origin.PAINTED,
) -> LibraryTask:
    """Keep labelled slices as a task, or add them to one. Whole or not at all.

    A slice whose image is in the task already takes the place of that one: that is how corrections come back.
    Segments are the same label where they have the same name.

    Parameters
    ----------
    volume, label_map : on the same grid
        `label_map` gives the segments their names.
    support : Support
        The slices to keep.
    add : bool
        Whether the task is there already.

    Raises
    ------
    InputError
        The name cannot be one, is taken or unknown; slices of another plane; the folder cannot be written.
    """
    if not is_folder_name(name):
        raise InputError("library_name", name=name)
    library = library_folder()
    try:
        make_library(library)
        with alone(library):
            if add:
                task = _with_slices(read_task(task_folder(name)), name, volume, label_map, support, origin)
                task.write()
            elif paths.is_occupied(library / name):
                raise InputError("library_taken", name=name)
            else:
                with TemporaryFolder(library) as folder:
                    task = _with_slices(LibraryTask(folder, (), "", ()), name, volume, label_map, support, origin)
                    task.write()
                    task = replace(task, folder=folder.rename(library / name))
    except OSError as error:
        raise InputError("output_unwritable", path=library, detail=error.strerror or "the disk is full") from None
    _remove_unused(task)
    return task


def remove_task(name: str) -> None:
    """Remove a task and all its slices.

    Raises
    ------
    InputError
        There is no such task, or it cannot be removed.
    """
    folder = task_folder(name)
    try:
        with alone(library_folder()), TemporaryFolder(library_folder()) as gone:
            folder.replace(gone / name)
    except OSError as error:
        raise InputError("output_unwritable", path=folder, detail=error.strerror) from None


def _with_slices(
    task: LibraryTask, name: str, volume: Volume, label_map: LabelMap, support: Support, origin: Origin
) -> LibraryTask:
    """The task with further slices, whose pixels are written but not yet its task.json."""
    geometry, axis = volume.geometry, support.axis
    plane = axis.patient_name(geometry).removeprefix("oblique ")
    if task.plane and plane != task.plane:
        raise InputError("library_plane", name=name, plane=task.plane, axis=axis.index, other=plane)
    segments, values = _merged(task.segments, [s for s in label_map.segments if s.value in support.labels])
    quantiles = _quantiles(volume.array)
    directions = tuple(float(value) for value in directions_of(geometry, axis).ravel())
    slices = list(task.slices)
    task = replace(task, segments=segments, plane=plane)
    for index, mask, known in zip(support.indices, support.masks, support.known, strict=True):
        image = np.ascontiguousarray(axis.slices(volume.array)[index])
        # By the type's name: numpy writes the same type in more than one way, as '<f4' and as 'float32'.
        layout = str((np.dtype(image.dtype.name), image.shape))
        digest = hashlib.sha256(layout.encode() + image.tobytes()).hexdigest()
        slices = [one for one in slices if one.digest != digest]
        one = LibrarySlice(
            _free_file(task, slices),
            digest,
            (image.shape[0], image.shape[1]),
            axis.spacing(geometry)[1:],
            directions,
            quantiles,
            tuple(sorted(values[label] for label, is_known in zip(support.labels, known, strict=True) if is_known)),
            origin,
            time.strftime("%Y-%m-%d"),
            __version__,
        )
        kept = np.zeros(mask.shape, dtype=np.uint16)
        for old, new in values.items():
            kept[mask == old] = new
        for kind, array in zip(KINDS, (image, kept), strict=True):
            with written(task.folder / f"{one.file}.{kind}.npy") as stream:
                np.save(stream, array)
        task.write_thumbnail(one)
        slices.append(one)
    return replace(task, slices=tuple(slices))


def _quantiles(array: np.ndarray) -> tuple[float, ...]:
    """Values at `QUANTILES` of a volume's voxels; those between the extremes from every so many voxels."""
    stride = max(1, round((array.size / _ENOUGH_VOXELS) ** (1 / 3)))
    inner = np.quantile(array[::stride, ::stride, ::stride], QUANTILES[1:-1])
    return tuple(float(value) for value in (array.min(), *inner, array.max()))


def directions_of(geometry: Geometry, axis: SliceAxis) -> np.ndarray:
    """Unit vectors (LPS) [3, 3] along which slices, rows and columns along an axis are counted."""
    array_order = np.reshape(geometry.direction, (3, 3)).T[::-1]
    order = [axis.index, *(other for other in range(3) if other != axis.index)]
    return np.asarray(array_order[order])


def _merged(known: Sequence[Segment], given: Sequence[Segment]) -> tuple[tuple[Segment, ...], dict[int, int]]:
    """All segments, and the value in the task of each given one. Equal names are the same label."""
    segments = list(known)
    values = {}
    for segment in given:
        same = [one for one in segments if one.name.casefold() == segment.name.casefold()]
        if not same:
            tags = {TERMINOLOGY: segment.tags[TERMINOLOGY]} if segment.tags.get(TERMINOLOGY) else {}
            same = [Segment(len(segments) + 1, segment.name, segment.colour, tags)]
            segments += same
        values[segment.value] = same[0].value
    return tuple(segments), values


def _free_file(task: LibraryTask, slices: Sequence[LibrarySlice]) -> str:
    """Digits that no file of the task begins with: what is there stays readable until task.json is replaced."""
    used = {path.name[:4] for path in task.folder.iterdir()} | {one.file for one in slices}
    for number in range(1, _MOST_SLICES + 1):
        if f"{number:04}" not in used:
            return f"{number:04}"
    raise InputError("library_full", name=task.name, most=_MOST_SLICES)


def _remove_unused(task: LibraryTask) -> None:
    """Remove the files of slices that the task no longer has."""
    used = {one.file for one in task.slices}
    for path in task.folder.iterdir():
        if FILE.fullmatch(path.name[:4]) and path.name[:4] not in used:
            path.unlink(missing_ok=True)


def alone(library: Path) -> AbstractContextManager[None]:
    """One program changes the library at a time."""
    return lock_held(library / ".lock", _WAIT_SECONDS, library)
