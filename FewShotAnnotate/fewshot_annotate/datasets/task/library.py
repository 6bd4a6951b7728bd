"""Library of tasks, stored in the user's data folder or in a folder that several people share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ... import __version__
from ...core import paths
from ...core.data_folder import data_folder
from ...core.disk import unwritable_error
from ...core.errors import InputError, Message
from ...core.file_transaction import atomic_stream, count_written
from ...core.folder_names import is_folder_name
from ...core.intensity import intensity_quantiles
from ...core.locks import file_lock, open_locked
from ...core.signals import defer_signals
from ...core.slice_axis import SliceAxis
from ...core.staged_folder import staged_folder
from ...core.support import Support
from ...core.temporary import TemporaryFolder
from ...core.volume import Geometry, LabelMap, Segment, Volume
from .example import image_digest
from .segments import terminology_of
from .task import ARRAY_KINDS, FILE_NUMBER, TASK_FILE, LibrarySlice, SliceOrigin, Task, read_task

_MAX_SLICES = 9999
_WAIT_SECONDS = 10.0
_TASK_LOCK = ".lock"
TRAINING_LOCK = "models/.training.lock"
# Number of voxels sampled for the intensity quantiles of a volume.
_QUANTILE_SAMPLE_VOXELS = 1 << 22


def library_folder() -> Path:
    """Folder of the user's tasks; it need not exist."""
    return data_folder() / "library"


def make_library(library: Path) -> None:
    """Create the folder of all tasks, readable by the user only, as it holds images of patients."""
    library.parent.mkdir(parents=True, exist_ok=True)
    library.mkdir(0o700, exist_ok=True)


def task_names() -> list[str]:
    """Sorted names of all tasks."""
    folder = library_folder()
    return sorted(path.parent.name for path in folder.glob("[!.]*/task.json")) if paths.is_folder(folder) else []


def task_folder(name: str) -> Path:
    """Folder of the task of this name, which may be the path of a folder elsewhere.

    Raises
    ------
    InputError
        There is no such task.
    """
    if _is_path(name):
        if not paths.is_file(Path(name) / TASK_FILE):
            raise InputError("task_folder_none", path=name)
        return Path(name).absolute()
    if not is_folder_name(name) or not paths.is_file(library_folder() / name / "task.json"):
        raise InputError("library_unknown", name=name, known=", ".join(task_names()) or Message("none_yet"))
    return library_folder() / name


def save_slices(
    name: str,
    volume: Volume,
    label_map: LabelMap,
    support: Support,
    *,
    add: bool = False,
    origin: SliceOrigin = SliceOrigin.PAINTED,
) -> Task:
    """Save labelled slices as a task, or add them to one, atomically.

    A slice whose image is in the task already is replaced, so that corrections can be saved. Segments are matched by
    name.

    Parameters
    ----------
    name : str
        Name of the task, or path of its folder.
    volume, label_map : on the same grid
        `label_map` gives the segments their names.
    support : Support
        The slices to save.
    add : bool
        Whether to add to an existing task.
    origin : SliceOrigin
        Whether the slices were painted, or filled and then corrected.

    Raises
    ------
    InputError
        The name cannot be one, is taken or unknown; slices of another plane; the folder cannot be written.
    """
    if not add:
        with new_task_folder(name) as folder:
            task = _with_slices(Task(folder, (), "", ()), name, volume, label_map, support, origin)
            task.write()
        return replace(task, folder=task_folder(name))
    with _changing_library(name), task_lock(task_folder(name)):
        task = _with_slices(read_task(task_folder(name)), name, volume, label_map, support, origin)
        task.write()
        remove_unused_files(task)
    return task


def create_task(name: str, segments: Sequence[Segment] = ()) -> Task:
    """Create a task without examples.

    Parameters
    ----------
    name : str
        Its name, or the path of its folder.
    segments : sequence of Segment, optional
        In the order of their label values in the task; default: those of the first example.

    Raises
    ------
    InputError
        The name cannot be one, or is taken; the folder cannot be written.
    """
    with new_task_folder(name) as folder:
        Task(folder, tuple(segments), "", ()).write()
    return read_task(task_folder(name))


def task_lock(folder: Path) -> AbstractContextManager[None]:
    """Lock under which a task is changed, also by other users of a shared folder."""
    return file_lock(folder / _TASK_LOCK, _WAIT_SECONDS, folder)


def _share(folder: Path) -> None:
    """Give a task that was made in a folder of the user's choice the permissions of that folder, and its lock too."""
    allowed = folder.parent.stat().st_mode & 0o777
    with contextlib.suppress(OSError):  # a file system without permissions
        lock = folder / _TASK_LOCK
        lock.touch()
        lock.chmod(allowed & 0o666)
        folder.chmod(allowed)


def _is_path(name: str) -> bool:
    """Whether a task is named by the path of its folder: an absolute one, or one that begins with a dot and slash."""
    return Path(name).is_absolute() or name.startswith(("./", ".\\"))


@contextlib.contextmanager
def new_task_folder(name: str) -> Iterator[Path]:
    """Context manager: a temporary folder that becomes that of a new task at the end of the block.

    Raises
    ------
    InputError
        The name cannot be one, or is taken; the folder cannot be written.
    """
    with _changing_library(name) as library:
        new = library / Path(name).name
        if paths.lexists(new):
            raise InputError("library_taken", name=name)
        with staged_folder(new) as folder:
            yield folder
            if _is_path(name):
                _share(folder)


@contextlib.contextmanager
def _changing_library(name: str) -> Iterator[Path]:
    """Context manager: the folder that holds the task of this name, locked."""
    if not is_folder_name(Path(name).name if _is_path(name) else name):
        raise InputError("library_name", name=name)
    library = Path(name).absolute().parent if _is_path(name) else library_folder()
    try:
        if not _is_path(name):
            make_library(library)
        with library_lock(library):
            yield library
    except OSError as error:
        raise unwritable_error(library, error) from None


def remove_task(name: str) -> None:
    """Remove a task with all its examples and models.

    Raises
    ------
    InputError
        There is no such task, it is being trained, or it cannot be removed.
    """
    folder = task_folder(name)
    try:
        _require_not_in_training(folder)
        with library_lock(folder.parent), TemporaryFolder(folder.parent) as trash, defer_signals():
            folder.replace(trash / folder.name)
            count_written(folder)
    except OSError as error:
        raise unwritable_error(folder, error) from None


def _require_not_in_training(task: Path) -> None:
    """Raise `InputError` if a process trains the task of a folder."""
    if paths.lexists(task / TRAINING_LOCK):
        file = open_locked(task / TRAINING_LOCK)
        if file is None:
            raise InputError("task_in_training", name=task.name)
        file.close()  # on Windows, a folder with an open file cannot be moved


def _with_slices(
    task: Task, name: str, volume: Volume, label_map: LabelMap, support: Support, origin: SliceOrigin
) -> Task:
    """The task with slices added; writes their arrays and thumbnails, but not task.json."""
    geometry, axis = volume.geometry, support.axis
    plane = axis.nearest_plane(geometry)
    if task.plane and plane != task.plane:
        raise InputError("library_plane", name=name, plane=task.plane, axis=axis.index, other=plane)
    segments, values = _merged(task.segments, [s for s in label_map.segments if s.value in support.labels])
    quantiles = intensity_quantiles(volume.array, _QUANTILE_SAMPLE_VOXELS)
    directions = tuple(float(value) for value in directions_of(geometry, axis).ravel())
    slices = list(task.slices)
    task = replace(task, segments=segments, plane=plane)
    for index, mask, annotated in zip(support.indices, support.masks, support.annotated, strict=True):
        image = np.ascontiguousarray(axis.slices(volume.array)[index])
        digest = image_digest(image)
        slices = [library_slice for library_slice in slices if library_slice.digest != digest]
        library_slice = LibrarySlice(
            file=_free_file(task, slices),
            digest=digest,
            shape=(image.shape[0], image.shape[1]),
            spacing=axis.spacing(geometry)[1:],
            directions=directions,
            quantiles=quantiles,
            annotated=tuple(
                sorted(
                    values[label]
                    for label, is_annotated in zip(support.labels, annotated, strict=True)
                    if is_annotated
                )
            ),
            origin=origin,
            added=time.strftime("%Y-%m-%d"),
            program=__version__,
        )
        task_mask = np.zeros(mask.shape, dtype=np.uint16)
        for old, new in values.items():
            task_mask[mask == old] = new
        for kind, array in zip(ARRAY_KINDS, (image, task_mask), strict=True):
            with atomic_stream(task.folder / f"{library_slice.file}.{kind}.npy") as stream:
                np.save(stream, array)
        task.write_thumbnail(library_slice)
        slices.append(library_slice)
    return replace(task, slices=tuple(slices))


def directions_of(geometry: Geometry, axis: SliceAxis) -> np.ndarray:
    """Unit vectors (LPS) [3, 3] of increasing slice, row and column index for slices along an axis."""
    array_order = geometry.direction_matrix.T[::-1]
    order = [axis.index, *(other for other in range(3) if other != axis.index)]
    return np.asarray(array_order[order])


def _merged(
    task_segments: Sequence[Segment], new_segments: Sequence[Segment]
) -> tuple[tuple[Segment, ...], dict[int, int]]:
    """Merge segments by name; returns all segments, and the label value in the task for each given one."""
    segments = list(task_segments)
    values = {}
    for segment in new_segments:
        same = [other for other in segments if other.name.casefold() == segment.name.casefold()]
        if not same:
            tags = terminology_of(segment)
            same = [Segment(value=len(segments) + 1, name=segment.name, colour=segment.colour, tags=tags)]
            segments += same
        values[segment.value] = same[0].value
    return tuple(segments), values


def _free_file(task: Task, slices: Sequence[LibrarySlice]) -> str:
    """An unused file number; existing files are kept, as the current task.json refers to them."""
    used = {path.name[:4] for path in task.folder.iterdir()} | {library_slice.file for library_slice in slices}
    for number in range(1, _MAX_SLICES + 1):
        if f"{number:04}" not in used:
            return f"{number:04}"
    raise InputError("library_full", name=task.name, most=_MAX_SLICES)


def remove_unused_files(task: Task) -> None:
    """Remove files of slices that are no longer in the task; the library must be locked."""
    used = {library_slice.file for library_slice in task.slices}
    for path in task.folder.iterdir():
        if FILE_NUMBER.fullmatch(path.name[:4]) and path.name[:4] not in used:
            with contextlib.suppress(OSError):  # what cannot be removed is harmless
                path.unlink()


def library_lock(library: Path) -> AbstractContextManager[None]:
    """Lock under which the library is changed."""
    return file_lock(library / ".lock", _WAIT_SECONDS, library)
