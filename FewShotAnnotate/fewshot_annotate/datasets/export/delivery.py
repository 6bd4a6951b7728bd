"""Export of a data set: cases are written and checked one by one; the data set appears complete or not at all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...core import paths
from ...core.errors import InputError, Message
from ...core.slice_axis import SliceAxis, labelled_indices
from ...core.staged_folder import staged_folder
from ...core.text import first_of
from ...core.volume import Geometry, LabelMap, Volume
from ...guidance.contact_sheet import contact_sheet, evenly_spread
from ...io.files import write_array
from .checks import findings, require_consistent
from .data_sheet import data_sheet, write_data_sheet
from .facts import CaseFacts, facts_of
from .layouts import LAYOUTS, CasePaths, Layout, LayoutOptions
from .source import DatasetSource

PREVIEWS = "previews"
_MAX_LISTED = 4


@dataclass(frozen=True)
class ExportedDataset:
    """Result of an export.

    Attributes
    ----------
    folder : Path
        Root of the data set.
    cases : tuple of CaseFacts
    validation : frozenset of str
        Names of the validation cases.
    findings : tuple of Message
    """

    folder: Path
    cases: tuple[CaseFacts, ...]
    validation: frozenset[str]
    findings: tuple[Message, ...]


def export_dataset(
    source: DatasetSource,
    output: Path,
    layout_name: str,
    options: LayoutOptions,
    *,
    validation: float = 0.2,
    seed: int = 0,
    previews: bool = True,
    report: Callable[[int], object] = lambda count: None,
) -> ExportedDataset:
    """Write a data set with its data sheet.

    Parameters
    ----------
    source : DatasetSource
    output : Path
        A folder that does not exist.
    layout_name : str
        One of `LAYOUTS`.
    options : LayoutOptions
    validation : float
        Share of the patients that are held out, 0..1.
    seed : int
        Seed of the split of the patients.
    previews : bool
        Whether to draw some slices of each case.
    report : function
        Called with the number of cases that have been written.

    Raises
    ------
    InputError
        The folder is there already or cannot be written; a case cannot be read or has other segments; a segment is in
        no case.
    """
    output = output.absolute()
    if paths.lexists(output):
        raise InputError("dataset_there", path=output)
    _require_images(source)
    layout = LAYOUTS[layout_name](options, source.segments)
    paths.require_nameable(output)
    if not paths.is_folder(output.parent):
        raise InputError("file_missing", path=output.parent)
    with staged_folder(output, output.parent) as hidden:
        root = hidden / layout.root
        cases, files = _write_cases(source, root, layout, previews, report)
        require_consistent(source.segments, cases)
        cases = same_patients(cases)
        held = validation_patients((case.patient for case in cases), validation, seed)
        held_cases = frozenset(case.number for case in cases if case.patient in held)
        layout.describe(root, cases, files, held_cases)
        one_patient = _one_patient(cases, validation)
        problems = [*one_patient, *findings(source.segments, cases), *_same_images(cases)]
        renamed = [replace(case, name=case.number) for case in cases]  # names of files may be those of patients
        warnings = [*one_patient, *findings(source.segments, renamed), *_same_images(renamed)]
        write_data_sheet(root, data_sheet(options.name, layout_name, source.segments, cases, held_cases, warnings))
    return ExportedDataset(output / layout.root, tuple(cases), held_cases, tuple(problems))


def same_patients(cases: Sequence[CaseFacts]) -> list[CaseFacts]:
    """Cases with one patient for all that share an image or a patient, directly or through others."""
    patients: dict[str, str] = {}

    def first_of(identifier: str) -> str:
        while (other := patients.setdefault(identifier, identifier)) != identifier:
            identifier = other
        return identifier

    for case in cases:
        patients[first_of(case.digest)] = first_of(case.patient)
    return [replace(case, patient=first_of(case.patient)) for case in cases]


def validation_patients(patients: Iterable[str], fraction: float, seed: int = 0) -> frozenset[str]:
    """Patients of the validation set: the same ones for the same seed, whatever the order of the cases.

    Parameters
    ----------
    patients : iterable of str
    fraction : float
        0..1; of at least two patients, at least one is on each side unless the fraction is 0.
    seed : int
    """
    ordered = sorted(
        set(patients),
        key=lambda patient: hashlib.sha256(f"{seed} {patient}".encode("utf-8", "surrogatepass")).hexdigest(),
    )
    count = round(fraction * len(ordered))
    if fraction > 0 and len(ordered) > 1:
        count = min(max(count, 1), len(ordered) - 1)
    return frozenset(ordered[:count])


def _require_images(source: DatasetSource) -> None:
    """Raise `InputError` if images of cases are missing: an export would end at the first, perhaps after hours."""
    missing = [case for case in source.cases if not paths.exists(case.image)]
    if len(missing) == 1:
        paths.require_existing(missing[0].image)
    if missing:
        names = first_of([case.name for case in missing], _MAX_LISTED)
        raise InputError("dataset_images_missing", count=len(missing), cases=names, path=missing[0].image)


def _write_cases(
    source: DatasetSource, root: Path, layout: Layout, previews: bool, report: Callable[[int], object]
) -> tuple[list[CaseFacts], dict[str, CasePaths]]:
    cases, files = [], {}
    patients: dict[str, int] = {}
    images: Counter[str] = Counter()
    root.mkdir(parents=True, exist_ok=True)
    for count, case in enumerate(source.cases, start=1):
        loaded = case.load()
        number = f"{layout.options.plain_name.lower()}_{count:03}"
        facts = facts_of(number, case, loaded, len(source.segments))
        patient = patients.setdefault(facts.patient, len(patients) + 1)
        images[facts.patient] += 1
        case_paths = layout.paths(number, patient, images[facts.patient])
        geometry = loaded.volume.geometry
        # Without the header of another program.
        grid = Geometry(geometry.shape, geometry.spacing, geometry.origin, geometry.direction)
        for path, array in (
            (root / case_paths.image, loaded.volume.array),
            (root / case_paths.labels, loaded.labels),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_array(path, array, grid)
        if previews:
            (root / PREVIEWS).mkdir(exist_ok=True)
            label_map = LabelMap(loaded.labels, geometry, source.segments)
            _write_preview(root / PREVIEWS / f"{number}.png", loaded.volume, label_map)
        cases.append(facts)
        files[number] = case_paths
        report(count)
    return cases, files


def _write_preview(path: Path, volume: Volume, label_map: LabelMap) -> None:
    spacing = SliceAxis(0).spacing(volume.geometry)
    axis = SliceAxis(int(np.argmax(spacing)))
    held = labelled_indices(label_map.array, axis) or [axis.count(volume.geometry) // 2]
    contact_sheet(path, volume, label_map, axis, evenly_spread(held[0], held[-1]))


def _one_patient(cases: Sequence[CaseFacts], validation: float) -> list[Message]:
    is_single = len(cases) > 1 and len({case.patient for case in cases}) == 1
    return [Message("dataset_one_patient", count=len(cases))] if is_single and validation else []


def _same_images(cases: Sequence[CaseFacts]) -> list[Message]:
    messages = []
    for digest, count in Counter(case.digest for case in cases).items():
        if count > 1:
            names = ", ".join(case.name for case in cases if case.digest == digest)
            messages.append(Message("dataset_same_image", cases=names))
    return messages
