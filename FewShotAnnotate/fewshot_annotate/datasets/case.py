"""Filling of one case of a batch, from its input files to its output files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..core.clean_up import clean_up_layers, clean_ups_by_value
from ..core.disk import unwritable_error
from ..core.errors import InputError, Message
from ..core.results import write_results
from ..core.slice_axis import Plane, SliceAxis, labelled_indices
from ..core.unexpected_errors import append_to_log, error_fingerprint, is_out_of_memory
from ..core.volume import LabelMap, Volume, names_by_value
from ..engines.base import Engine, RunContext, Stopped, label_slice
from ..engines.registry import engine_for
from ..engines.specialist.report import REPORT_FILE
from ..guidance.contact_sheet import contact_sheet, evenly_spread, least_certain
from ..guidance.poor_dice import poor_labels
from ..guidance.poor_dice_warning import poor_dice_warning
from ..io.dicom.origin import channel_notes
from ..io.files import read_channels, read_volume, write_array, write_label_maps
from ..io.shear_note import shear_note
from ..jobs.filling import Filling
from ..jobs.planning import PlannedRun
from ..jobs.run_layout import confidence_of, quantised
from .batch_folder import BatchFolder
from .case_details import details_of, measured
from .case_files import CaseFiles
from .case_plan import BatchSettings, CasePlan, CaseTask, plan_case
from .manifest import Case
from .status import CaseStatus, Status

CORRECTED = str(InputError("case_corrected"))
# Minimum interval between checks for the cancel file, to spare shared file systems.
_CANCEL_CHECK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class CaseJob:
    """Job of a worker process: one case to fill. Pickled without voxels.

    Attributes
    ----------
    case : Case
        The case; its engine is never 'auto'.
    settings : BatchSettings
    folder : Path
        Absolute path of the batch folder, accessible to every worker.
    task : CaseTask or None
    version : str
        Version of the program that made the job.
    """

    case: Case
    settings: BatchSettings
    folder: Path
    task: CaseTask | None = None
    version: str = __version__

    @property
    def files(self) -> CaseFiles:
        """The files of the case."""
        return BatchFolder(self.folder).case(self.case.name)

    @property
    def model(self) -> Path | None:
        """Folder of the model that fills the case, if one does."""
        return None if self.task is None else self.task.model

    def request(self) -> dict[str, Any]:
        """Everything the result depends on, as JSON; a case with an equal record is done."""
        case = self.case
        content: dict[str, Any] = {
            **({"series": case.series} if case.series else {}),
            **({"also": [_identity(path) for path in case.also]} if case.also else {}),
            "image": _identity(case.image),
            "support": case.support and _identity(case.support),
            "engine": case.engine,
            "axis": str(case.axis) if isinstance(case.axis, Plane) else case.axis and case.axis.index,
            "labelled_slices": case.labelled_slices,
            "library": case.library,
            "slices": self.settings.slices,
            "options": dict(self.settings.options),
        }
        if case.labels is not None:
            content["labels"] = _identity(case.labels)
        if self.settings.clean_up:
            content["clean_up"] = [[rule.label, rule.clean_up.to_json()] for rule in self.settings.clean_up]
        if self.settings.agreed:
            content["agreed"] = sorted(self.settings.agreed)
        if not self.settings.complete:
            content["complete"] = False
        if self.task is not None and self.model is not None:
            content |= {"task": str(self.task.folder), "model": _identity(self.model / REPORT_FILE)}
        return dict(json.loads(json.dumps(content)))


def run_case(case_job: CaseJob) -> CaseStatus:
    """Fill one case and write its files; errors are returned as a failed status.

    Without a time limit the result does not depend on the process that runs the case.
    """
    name, began = case_job.case.name, time.monotonic()

    def ended(status: Status, message: str | InputError = "") -> CaseStatus:
        error = message if isinstance(message, InputError) else None
        return CaseStatus(
            name=name, status=status, seconds=round(time.monotonic() - began, 2), message=str(message), error=error
        )

    if case_job.version != __version__:
        return ended(
            Status.FAILED, f"This worker has version {__version__}, the batch {case_job.version}; update it."
        )
    try:
        if case_job.files.corrected():  # while the case was waiting
            return CaseStatus(name=name, status=Status.DONE, seconds=None, message=CORRECTED)
        message, outcome = _fill_and_write(case_job)
        status = ended(Status.DONE, message)
        case_job.files.write_record(case_job.request(), {"seconds": status.seconds, "message": message, **outcome})
        return replace(status, details=details_of(outcome))
    except Stopped:
        return CaseStatus(name=name, status=Status.SKIPPED, seconds=None, message="cancelled")
    except InputError as error:
        return ended(Status.FAILED, InputError("case_row", row=case_job.case.row, detail=error))
    except Exception as error:
        if is_out_of_memory(error):
            return ended(Status.FAILED, f"row {case_job.case.row}: there is not enough memory for this case.")
        append_to_log(error, case_job.files.error_log, __version__)
        description = f"an unexpected error ({type(error).__name__}, code {error_fingerprint(error)})"
        return ended(Status.FAILED, f"row {case_job.case.row}: {description}; see {name}/error.log.")


def _fill_and_write(case_job: CaseJob) -> tuple[str, dict[str, Any]]:
    """Write all files of the case except its record; returns a message for the user and the outcome to record."""
    case, files = case_job.case, case_job.files
    try:
        files.begin()
    except OSError as error:
        raise unwritable_error(files.folder, error) from None
    _raise_if_cancelled(case_job)
    volume = read_channels(read_volume(case.image, case.series or None), case.also)
    planned = plan_case(case, case_job.settings, volume, case_job.task)
    label_map, run = planned.label_map, planned.run
    clean_ups_by_value(case_job.settings.clean_up, planned.filled(label_map.array).segments)
    engine = engine_for(run.job)
    notes = shear_note(volume.geometry, case.image), *channel_notes(case.also, case.image), *planned.notes
    warnings = [str(note) for note in notes if note is not None]
    context = _context(case_job, planned, lambda message: warnings.append(str(message)))
    labels, confidence = _fill(engine, run, volume, context)
    (filled,), confidence = clean_up_layers(
        [planned.filled(labels)], confidence, case_job.settings.clean_up, run.support, run.job.slices
    )
    _write_files(files, run, volume, filled, confidence)
    axis, names = run.support.axis, names_by_value(label_map.segments)
    expected = engine.expected_dice()
    poor = poor_labels(run.support, expected, axis.slices(labels), axis.slices(confidence), run.job.slices)
    warnings.append(str(poor_dice_warning(poor, names) or ""))
    outcome = {
        "engine": run.job.engine,
        "version": __version__,
        "axis": axis.index,
        "labelled_slices": list(run.support.indices),
        "examples": len(planned.examples),
        "filled_slices": len(run.job.slices),
        "expected": [label_dice.to_json() for label_dice in expected],
        "names": {str(value): name for value, name in names.items()},
        **measured(volume, filled, confidence, run),
    }
    if case_job.model is not None:
        outcome["model"] = case_job.model.name
    return " ".join(warning for warning in dict.fromkeys(warnings) if warning), outcome


def _context(case_job: CaseJob, planned: CasePlan, warn: Callable[[Message], object]) -> RunContext:
    """Context of the engine's run, whose time limit begins now."""
    job = planned.run.job
    return RunContext(
        warn=warn,
        stop=_cancel_check(case_job),
        deadline=None if job.budget is None else time.monotonic() + job.budget,
        names=job.names,
        examples=planned.examples,
        model=None if job.model is None else Path(job.model),
    )


def _write_files(
    files: CaseFiles, run: PlannedRun, volume: Volume, label_map: LabelMap, confidence: np.ndarray
) -> None:
    """Write the filled labels, their confidence [k, j, i], and a preview of the least certain slices."""
    write_results(
        [
            (files.confidence, lambda path: write_array(path, confidence, volume.geometry)),
            (files.label, lambda path: write_label_maps(path, [label_map])),
        ]
    )
    axis = run.support.axis
    shown = least_certain(label_map.array, confidence, axis, run.job.slices)
    contact_sheet(files.preview, volume, label_map, axis, shown, run.support.indices)


def write_preview(
    files: CaseFiles,
    volume: Volume,
    label_map: LabelMap,
    axis: SliceAxis,
    labelled: Sequence[int],
) -> None:
    """Write the preview of a case that a person corrected: some slices from the first to the last labelled one.

    Raises
    ------
    InputError
        Pillow is missing, or the picture cannot be written.
    """
    held = labelled_indices(label_map.array, axis) or [0]
    contact_sheet(files.preview, volume, label_map, axis, evenly_spread(held[0], held[-1]), labelled)


def _fill(engine: Engine, run: PlannedRun, volume: Volume, context: RunContext) -> tuple[np.ndarray, np.ndarray]:
    """Fill a volume; returns labels and confidence, both [k, j, i].

    Confidence is quantised in steps of 1/255, as in a run folder.
    """
    support = run.support
    shape = support.axis.shape(volume.geometry)
    labels = np.zeros(shape, dtype=np.min_scalar_type(max(support.labels)))
    confidence = np.zeros(shape, dtype=np.float32)
    for index, probabilities in Filling(engine, volume, support, run.job.slices, context).results():
        labels[index], sure = label_slice(probabilities, support.labels)
        confidence[index] = confidence_of(quantised(sure))
    for index, mask in zip(support.indices, support.masks, strict=True):
        labels[index] = mask
        confidence[index] = 1.0
    return support.axis.restore(labels), support.axis.restore(confidence)


def _cancel_check(case_job: CaseJob) -> Callable[[], bool]:
    """A function that returns whether the batch was cancelled."""
    asked = time.monotonic()

    def stop() -> bool:
        nonlocal asked
        if time.monotonic() - asked <= _CANCEL_CHECK_SECONDS:
            return False
        asked = time.monotonic()
        return BatchFolder(case_job.folder).cancel_requested()

    return stop


def _raise_if_cancelled(case_job: CaseJob) -> None:
    if BatchFolder(case_job.folder).cancel_requested():
        raise Stopped


def _identity(path: Path) -> dict[str, Any]:
    """Path, size and modification time, which change when a file is modified."""
    about = path.stat()
    return {"path": str(path), "bytes": about.st_size, "modified": about.st_mtime_ns}
