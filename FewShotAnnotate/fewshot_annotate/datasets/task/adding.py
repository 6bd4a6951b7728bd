"""Adding volumes to a task, and removing them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ... import __version__
from ...core.disk import unwritable_error
from ...core.errors import InputError
from ...core.intensity import intensity_quantiles
from ...core.memo import Memo
from ...core.signals import defer_signals
from ...core.slice_axis import SliceAxis, labelled_indices
from ...core.staged_folder import hidden_folder, rename_folder
from ...core.volume import Geometry, LabelMap, Segment, Volume
from ...io.files import write_array
from .example import (
    EXAMPLE_FILES,
    EXAMPLES,
    IMAGE_FILE,
    LABELS_FILE,
    LabelOrigin,
    TaskExample,
    file_digest,
    image_digest,
    patient_digest,
)
from .library import task_lock
from .segments import present_segments, task_segments, values_in_task, with_values
from .task import Task, read_task

_MAX_EXAMPLES = 9999
_QUANTILE_SAMPLE_VOXELS = 1 << 22
# Labels in runs of at most this many consecutive slices, on average, are taken for single painted slices rather than
# whole structures.
_MAX_RUN_SLICES = 1.5


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who made the labels of an example.

    Attributes
    ----------
    origins : mapping of LabelOrigin to int
        Number of labelled slices by who made their labels; empty: all were painted.
    engine : str
        Engine and version that filled the slices nobody painted.
    patient : str
        Identifier of the patient, such as a pseudonym; only its digest is kept. If empty, the digest of the voxels.
    """

    origins: Mapping[LabelOrigin, int] | None = None
    engine: str = ""
    patient: str = ""


@dataclass(frozen=True)
class Added:
    """Outcome of adding an example.

    Attributes
    ----------
    task : Task
    example : TaskExample
    replaced : bool
        Whether the same image was in the task already; its labels were replaced.
    """

    task: Task
    example: TaskExample
    replaced: bool


def add_example(
    folder: Path,
    volume: Volume,
    label_map: LabelMap,
    *,
    axis: SliceAxis | None = None,
    labelled_slices: Sequence[int] | None = None,
    provenance: Provenance = Provenance(),
    path: object = "The labels",
    task: Task | None = None,
    memo: Memo | None = None,
) -> Added:
    """Add a volume with its labels to a task, atomically. An image that is in the task already gets the new labels.

    Parameters
    ----------
    folder : Path
        Folder of the task.
    volume, label_map : on the same grid
    axis : SliceAxis, optional
        Axis of the labelled slices; needed with `labelled_slices`.
    labelled_slices : sequence of int, optional
        Default: the whole volume is labelled.
    provenance : Provenance
    path : object
        Names the labels in errors.
    task : Task, optional
        The task as it was just read or changed; else it is read.
    memo : Memo, optional
        As for `read_task`.

    Raises
    ------
    InputError
        No label; other segments than the task has; labelled slices of another plane; the folder cannot be written.
    """
    task = task or read_task(folder, memo)
    labels, example = _example(task, volume, label_map, axis, labelled_slices, provenance, path)
    try:
        (folder / EXAMPLES).mkdir(folder.stat().st_mode & 0o777, exist_ok=True)
        with hidden_folder(folder, folder / EXAMPLES) as new:
            write_array(new / IMAGE_FILE, volume.array, example.geometry)
            write_array(new / LABELS_FILE, labels, example.geometry)
            example = replace(example, checksums={name: file_digest(new / name) for name in EXAMPLE_FILES})
            with task_lock(folder):
                latest = read_task(folder, memo)
                if latest.segments != task.segments:  # another person added the first example meanwhile
                    raise InputError("task_changed", name=task.name)
                return _commit(latest, example, new, _segments_of(task, label_map), _plane(example), path)
    except OSError as error:
        raise unwritable_error(folder, error) from None


def remove_example(folder: Path, number: str) -> Task:
    """Remove an example of a task.

    Raises
    ------
    InputError
        There is no such example, or it cannot be removed.
    """
    with task_lock(folder):
        task = read_task(folder)
        removed = [example for example in task.examples if example.number == number]
        if not removed:
            numbers = ", ".join(example.number for example in task.examples) or "none"
            raise InputError("task_no_example", name=task.name, number=number, known=numbers)
        task = replace(task, examples=tuple(example for example in task.examples if example.number != number))
        task.write()
        _remove_folder(removed[0].folder(folder))
    return task


def sparsely_labelled_slices(label_map: LabelMap) -> list[int] | None:
    """Slices that hold labels, if they are single slices with gaps between them; None for whole structures."""
    for axis in map(SliceAxis, range(3)):
        held = labelled_indices(label_map.array, axis)
        runs = 1 + int(np.count_nonzero(np.diff(held) > 1)) if held else 0
        if runs > 1 and len(held) / runs <= _MAX_RUN_SLICES and len(held) <= (held[-1] - held[0] + 1) / 2:
            return held
    return None


def _segments_of(task: Task, label_map: LabelMap) -> tuple[Segment, ...]:
    if task.segments:
        return task.segments
    return task_segments(present_segments(label_map.array, label_map.segments))


def _example(
    task: Task,
    volume: Volume,
    label_map: LabelMap,
    axis: SliceAxis | None,
    labelled_slices: Sequence[int] | None,
    provenance: Provenance,
    path: object,
) -> tuple[np.ndarray, TaskExample]:
    """Labels in the task's values, and the example without its checksums and number."""
    if labelled_slices is None:
        shown, chosen = label_map.array, None
    else:
        assert axis is not None
        chosen = tuple(sorted(set(labelled_slices)))
        axis.require_slices(chosen, axis.count(volume.geometry))
        shown = np.zeros_like(label_map.array)
        axis.slices(shown)[list(chosen)] = axis.slices(label_map.array)[list(chosen)]
    present = present_segments(shown, label_map.segments)
    if not present and not chosen:
        raise InputError("task_no_labels", path=path)
    segments = _segments_of(task, label_map)
    labels = with_values(shown, values_in_task(segments, present, name=task.name, path=path))
    grid = Geometry(volume.geometry.shape, volume.geometry.spacing, direction=volume.geometry.direction)
    digest = image_digest(volume.array)
    count = grid.shape[0] if chosen is None else len(chosen)
    return labels, TaskExample(
        number="",
        digest=digest,
        patient=patient_digest(provenance.patient) if provenance.patient else digest,
        geometry=grid,
        axis=None if axis is None or chosen is None else axis.index,
        labelled_slices=chosen,
        voxels=tuple(int(voxels) for voxels in np.bincount(labels.ravel(), minlength=len(segments) + 1)[1:]),
        quantiles=intensity_quantiles(volume.array, _QUANTILE_SAMPLE_VOXELS),
        origins=dict(provenance.origins or {LabelOrigin.PAINTED: count}),
        engine=provenance.engine,
        checksums={},
        added=time.strftime("%Y-%m-%d"),
        program=__version__,
    )


def _commit(
    task: Task, example: TaskExample, new: Path, segments: tuple[Segment, ...], plane: str, path: object
) -> Added:
    """Put a complete example into a task, which is locked."""
    if plane and task.plane and plane != task.plane:
        axis = example.axis
        raise InputError("task_plane", path=path, name=task.name, plane=task.plane, axis=axis, other=plane)
    same = [other for other in task.examples if other.digest == example.digest]
    example = replace(example, number=_free_number(task))
    if same:  # a pseudonym that was given before is kept
        example = replace(example, patient=same[0].patient if example.patient == example.digest else example.patient)
    others = [other for other in task.examples if other.digest != example.digest]
    changed = replace(
        task, segments=segments, plane=task.plane or plane, examples=tuple(sorted([*others, example], key=_by_number))
    )
    target = example.folder(task.folder)
    with defer_signals():
        _remove_folder(target)  # left by a process that died before it wrote task.json
        rename_folder(new, target, task.folder)
        changed.write()
    for replaced in same:
        _remove_folder(replaced.folder(task.folder))
    return Added(changed, example, bool(same))


def _plane(example: TaskExample) -> str:
    """Patient plane of the labelled slices; empty if the whole volume is labelled."""
    if example.axis is None:
        return ""
    return SliceAxis(example.axis).nearest_plane(example.geometry)


def _by_number(example: TaskExample) -> str:
    return example.number


def _free_number(task: Task) -> str:
    used = {example.number for example in task.examples}
    for number in range(1, _MAX_EXAMPLES + 1):
        if f"{number:04}" not in used:
            return f"{number:04}"
    raise InputError("task_full", name=task.name, most=_MAX_EXAMPLES)


def _remove_folder(folder: Path) -> None:
    """Remove the folder of an example, as far as possible: what remains is not listed in task.json."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
