"""One case of a batch, from its files to its files: the same function in every process that works on a batch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..core.axis import SliceAxis, labelled_indices
from ..core.dicom_folder import SERIES_ERRORS
from ..core.dicom_seg_reading import label_note
from ..core.errors import InputError
from ..core.example import Example
from ..core.files import merge_layers, read_on_grid, read_volume, write_array, write_label_maps
from ..core.job import Device, Job
from ..core.regrid import MENDED_BY, Consent
from ..core.regrid_note import regrid_note
from ..core.storage import write_results
from ..core.unforeseen import code_of, is_memory_short, keep
from ..core.volume import LabelMap, Volume
from ..engines import runnable_engine
from ..engines.base import Engine, Stopped, label_slice
from ..review.picture import contact_sheet
from ..run.fill import FillRequest, PlannedRun, plan
from ..run.folder import CONFIDENCE_SCALE
from .folder import BatchFolder, CaseFiles
from .library_task import LibraryTask, read_task
from .library_use import axis_of_plane, empty_support, examples_of, values_by_name
from .manifest import Case
from .status import CaseStatus, Status

PREVIEW_SLICES = 10
CORRECTED = str(InputError("case_corrected"))
# A shared file system need not be asked more often than this whether the batch was cancelled.
_ASK_SECONDS = 0.5
# A slip of the pen on many slices is still one line.
_MOST_NUMBERS = 10


@dataclass(frozen=True)
class Settings:
    """What holds for every case of a batch.

    Attributes
    ----------
    slices : 'between', 'all' or (start, stop)
    device : Device
    options : mapping of str to number, str or bool
        Of the engine.
    budget : float or None
        Seconds for each case.
    agreed : frozenset of Consent
        What may be done to labels of another grid than the image's.
    complete : bool
        Whether a label that is not on a labelled slice is absent there.
    """

    slices: str | tuple[int, int] = "between"
    device: Device = Device.AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: float | None = None
    agreed: frozenset[Consent] = frozenset()
    complete: bool = True


@dataclass(frozen=True)
class Task:
    """A case to run, small and plain: it travels to the process that runs it, voxels do not.

    Attributes
    ----------
    case : Case
        Its engine has a name, never 'auto'.
    settings : Settings
    folder : Path
        Of the batch, absolute; every process sees the same files there.
    library : Path or None
        Folder of the library task that the case names, absolute; every process sees it, too.
    version : str
        Of the program that made the task.
    """

    case: Case
    settings: Settings
    folder: Path
    library: Path | None = None
    version: str = __version__

    @property
    def files(self) -> CaseFiles:
        """The files of the case."""
        return BatchFolder(self.folder).case(self.case.name)

    def request(self) -> dict[str, Any]:
        """All that the result depends on, as plain JSON: a case is done if this is what was asked then."""
        case = self.case
        content: dict[str, Any] = {
            **({"series": case.series} if case.series else {}),
            "image": _identity(case.image),
            "support": case.support and _identity(case.support),
            "engine": case.engine,
            "axis": case.axis and case.axis.index,
            "labelled_slices": case.labelled_slices,
            "library": case.library,
            "slices": self.settings.slices,
            "options": dict(self.settings.options),
        }
        if self.settings.agreed:
            content["agreed"] = sorted(self.settings.agreed)
        if not self.settings.complete:
            content["complete"] = False
        return dict(json.loads(json.dumps(content)))


def run_case(task: Task) -> CaseStatus:
    """Fill one case and write its files; whatever goes wrong with it is told in the status and nowhere else.

    Without `Settings.budget` the result is the same in whichever process it is made.
    """
    name, began = task.case.name, time.monotonic()

    def ended(status: Status, message: str = "") -> CaseStatus:
        return CaseStatus(name, status, round(time.monotonic() - began, 2), message)

    if task.version != __version__:
        return ended(Status.FAILED, f"This worker has version {__version__}, the batch {task.version}; update it.")
    try:
        if task.files.corrected():  # while the case waited
            return CaseStatus(name, Status.DONE, None, CORRECTED)
        message, outcome = _fill_and_write(task)
        status = ended(Status.DONE, message)
        task.files.write_record(task.request(), {"seconds": status.seconds, "message": message, **outcome})
        return status
    except Stopped:
        return CaseStatus(name, Status.SKIPPED, None, "cancelled")
    except InputError as error:
        return ended(Status.FAILED, f"row {task.case.row}: {error}{_mending(error)}")
    except Exception as error:
        if is_memory_short(error):
            return ended(Status.FAILED, f"row {task.case.row}: there is not enough memory for this case.")
        keep(error, task.files.error_log, __version__)
        words = f"an unforeseen error ({type(error).__name__}, code {code_of(error)})"
        return ended(Status.FAILED, f"row {task.case.row}: {words}; see {name}/error.log.")


def _mending(error: InputError) -> str:
    """What helps with an error: batches are run by the command line, from a table."""
    if error.code in SERIES_ERRORS:
        return " (column series)"
    consent = MENDED_BY.get(error.code)
    return f" (--{consent.value})" if consent else ""


def _fill_and_write(task: Task) -> tuple[str, dict[str, Any]]:
    """Make all files of the case but its record; returns a message for the user, and what the record tells."""
    case, files = task.case, task.files
    try:
        files.begin()
    except OSError as error:
        raise InputError("output_unwritable", path=files.folder, detail=error.strerror) from None
    _require_going(task)
    volume = read_volume(case.image, case.series or None)
    label_map, run, examples, note = _prepared(task, volume)
    engine = runnable_engine(run.job.engine)(run.job.device, run.job.options)
    engine.examples = examples
    warnings = [note, _unnamed(label_map, run)]
    engine.warn = warnings.append
    labels, confidence = _fill(engine, run, volume, _asking(task))
    filled = label_map.with_array(labels)
    axis, indices = run.support.axis, run.support.indices
    write_results(
        [
            (files.confidence, lambda path: write_array(path, confidence, volume.geometry)),
            (files.label, lambda path: write_label_maps(path, [filled])),
        ]
    )
    write_preview(files, volume, filled, axis, indices, run.job.slices)
    outcome = {
        "engine": run.job.engine,
        "version": __version__,
        "axis": axis.index,
        "labelled_slices": list(indices),
        "examples": len(examples),
        "filled_slices": len(run.support.unlabelled(run.job.slices)),
        "expected": [one.to_json() for one in engine.expected()],
    }
    return " ".join(warning for warning in dict.fromkeys(warnings) if warning), outcome


def write_preview(
    files: CaseFiles,
    volume: Volume,
    label_map: LabelMap,
    axis: SliceAxis,
    labelled: Sequence[int],
    slices: range | None = None,
) -> None:
    """Write the picture of a case: some slices of a range, by default of all that hold labels.

    Raises
    ------
    InputError
        Pillow is missing, or the picture cannot be written.
    """
    if slices is None:
        held = labelled_indices(label_map.array, axis) or [0]
        slices = range(held[0], held[-1] + 1)
    shown = np.linspace(slices.start, slices.stop - 1, PREVIEW_SLICES).round().astype(int)
    contact_sheet(files.preview, volume, label_map, axis, list(dict.fromkeys(map(int, shown))), labelled)


def _prepared(task: Task, volume: Volume) -> tuple[LabelMap, PlannedRun, list[Example], str]:
    """The labels of a case, what to fill, the examples of the library task it names, and a note on the labels."""
    case, geometry = task.case, volume.geometry
    library = None if task.library is None else read_task(task.library)
    if case.support is None:
        assert library is not None
        axis = axis_of_plane(library, geometry) if case.axis is None else case.axis
        kind = np.uint8 if len(library.segments) <= 255 else np.uint16
        label_map = LabelMap(np.zeros(geometry.shape, dtype=kind), geometry, library.segments)
        run = _plan_without_support(task, volume, library, axis)
        return label_map, run, examples_of(library, geometry, axis), ""
    regridded = read_on_grid(case.support, geometry, task.settings.agreed)
    label_map = _merged(regridded.layers, case.support)
    note = " ".join(filter(None, (label_note(case.support), regrid_note(regridded, case.support))))
    run = _plan(task, volume, label_map)
    if library is None:
        return label_map, run, [], note
    values = values_by_name(library, label_map.segments, run.support.labels)
    return label_map, run, examples_of(library, geometry, run.support.axis, values), note


def _merged(layers: Sequence[LabelMap], path: Path) -> LabelMap:
    """The labels of a file as one label map."""
    if len(layers) == 1:
        return layers[0]
    try:
        return merge_layers(layers, "label.nii.gz")
    except InputError:
        raise InputError("case_overlaps", path=path) from None


def _plan(task: Task, volume: Volume, label_map: LabelMap) -> PlannedRun:
    case, settings = task.case, task.settings
    request = FillRequest(
        volume,
        [label_map],
        case.axis,
        case.labelled_slices,
        settings.slices,
        case.engine,
        settings.device,
        dict(settings.options),
        settings.budget,
        complete=settings.complete,
        source=case.support,
    )
    (run,) = plan(request)
    return run


def _plan_without_support(task: Task, volume: Volume, library: LibraryTask, axis: SliceAxis) -> PlannedRun:
    """All slices of a volume on which nothing is painted, or those of the asked range."""
    settings, last = task.settings, axis.count(volume.geometry) - 1
    start, stop = (0, last + 1) if isinstance(settings.slices, str) else settings.slices
    for index in (start, stop - 1):
        if not 0 <= index <= last:
            raise InputError("slice_out_of_range", index=index, axis=axis.index, last=last)
    job = Job(task.case.engine, start, stop, settings.device, dict(settings.options), settings.budget)
    return PlannedRun(0, job, empty_support(library, volume.geometry, axis))


def _fill(
    engine: Engine, run: PlannedRun, volume: Volume, pulse: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence [k, j, i], as a job folder gives them, without one.

    Confidence is kept in steps of 1/255, as job folders do.
    """
    support = run.support
    engine.pulse, engine.names = pulse, run.job.names
    engine.deadline = None if run.job.budget is None else time.monotonic() + run.job.budget
    shape = support.axis.shape(volume.geometry)
    labels = np.zeros(shape, dtype=np.uint8 if max(support.labels) <= 255 else np.uint16)
    confidence = np.zeros(shape, dtype=np.float32)
    left = set(support.unlabelled(run.job.slices))
    engine.prepare(volume, support)
    for index, probabilities in engine.predict(sorted(left)):
        if index in left:
            left.remove(index)
            labels[index], sure = label_slice(probabilities, support.labels)
            confidence[index] = np.rint(np.clip(sure, 0, 1) * CONFIDENCE_SCALE) / np.float32(CONFIDENCE_SCALE)
        pulse(0.0)
    if left:
        raise InputError("engine_left", engine=engine.name, count=len(left))
    for index, mask in zip(support.indices, support.masks, strict=True):
        labels[index] = mask
        confidence[index] = 1.0
    return support.axis.restore(labels), support.axis.restore(confidence)


def _asking(task: Task) -> Callable[[float], None]:
    """A pulse that ends the case when the batch was cancelled."""
    asked = time.monotonic()

    def pulse(_fraction: float) -> None:
        nonlocal asked
        if time.monotonic() - asked > _ASK_SECONDS:
            asked = time.monotonic()
            _require_going(task)

    return pulse


def _require_going(task: Task) -> None:
    if BatchFolder(task.folder).cancel_file.exists():
        raise Stopped


def _unnamed(label_map: LabelMap, run: PlannedRun) -> str:
    """Which slices hold labels but are not among the named ones: what was painted there does not count."""
    unnamed = sorted(set(labelled_indices(label_map.array, run.support.axis)) - set(run.support.indices))
    return f"Labels on slices not named were replaced: {_shortened(unnamed)}." if unnamed else ""


def _shortened(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_MOST_NUMBERS])) + (" ..." if len(numbers) > _MOST_NUMBERS else "")


def _identity(path: Path) -> dict[str, Any]:
    """What tells a file from a changed one without reading it."""
    about = path.stat()
    return {"path": str(path), "bytes": about.st_size, "modified": about.st_mtime_ns}
