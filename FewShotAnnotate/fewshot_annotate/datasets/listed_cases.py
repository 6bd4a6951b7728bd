"""Cases and task of a data set: a batch folder that lists its own cases.

============  ========================================================================================================
cases.csv     manifest, which `batch` takes; its paths are relative to the folder, or absolute
dataset.json  task whose model fills the cases, and to which accepted cases are added
.patient.key  random bytes with which Patient IDs of DICOM series become pseudonyms, if there are any
============  ========================================================================================================
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core import paths
from ..core.disk import unwritable_error
from ..core.errors import InputError
from ..core.file_transaction import FileTransaction
from ..core.folder_names import folder_name_key
from ..core.new_folder import new_folder
from ..core.reading import DamagedContentError, read_bytes, read_json_as
from ..core.spreadsheet_cells import escape_formula
from ..core.storage import csv_bytes, write_json
from ..io.table import read_lines
from .batch_folder import BatchFolder
from .case_files import PRIVATE
from .found_volumes import FoundVolume
from .manifest import Case, read_manifest
from .status import NOT_BEGUN, PATIENT, CaseStatus, Status

CASES_FILE, SETTINGS_FILE, KEY_FILE = "cases.csv", "dataset.json", ".patient.key"
_KEY_BYTES = 32
_PSEUDONYM_DIGITS = 12
_COLUMNS = ("image", "support", "name", "series")
# Rows without labelled slices are valid only with a task; which one it is does not matter for listing them.
_ANY_TASK = "any"


def create_dataset(path: str | Path) -> BatchFolder:
    """The data set or batch in a folder; an empty folder or one that does not exist becomes a data set.

    Raises
    ------
    InputError
        It holds other files, or it cannot be written.
    """
    folder = BatchFolder(path)
    paths.require_nameable(folder.path)
    if paths.lexists(Path(path)) and not paths.is_folder(Path(path)):
        raise InputError("not_a_folder", path=path)
    if paths.is_file(folder.status.path):
        return folder
    if any(not entry.name.startswith(".") for entry in paths.entries(folder.path)):
        raise InputError("batch_folder_foreign", path=folder.path)
    try:
        with new_folder(folder.path, PRIVATE):
            folder.status.change(lambda rows: [])
    except OSError as error:
        raise unwritable_error(folder.path, error) from None
    return folder


def cases_path(folder: BatchFolder) -> Path:
    """The manifest of a data set; it need not exist."""
    return folder.path / CASES_FILE


def listed_cases(folder: BatchFolder) -> dict[str, Case]:
    """Cases that a data set lists and whose files are there, by name; none for a batch of another manifest.

    Raises
    ------
    InputError
        The list is damaged.
    """
    path = cases_path(folder)
    return {case.name: case for case in read_manifest(path, _ANY_TASK).cases} if paths.is_file(path) else {}


def listed_case(folder: BatchFolder, name: str) -> Case | None:
    """A case that a data set lists; None if it does not.

    Raises
    ------
    InputError
        The list is damaged, or a file of the case, such as its image, is no longer there.
    """
    path = cases_path(folder)
    if not paths.is_file(path):
        return None
    manifest = read_manifest(path, _ANY_TASK)
    for bad in manifest.bad_rows:
        if bad.name == name:
            raise bad.error
    return next((case for case in manifest.cases if case.name == name), None)


def listed_names(folder: BatchFolder) -> frozenset[str]:
    """Names of the cases that a data set lists, whether or not their images are there; none if that is unreadable."""
    path = cases_path(folder)
    try:
        lines, columns = _lines(folder)
    except InputError:
        return frozenset()
    return frozenset(line[columns.index("name")].strip() for line in lines) if paths.is_file(path) else frozenset()


def add_volumes(folder: BatchFolder, volumes: Sequence[FoundVolume]) -> list[str]:
    """Add volumes to a data set that are not in it; returns the names of the new cases.

    Raises
    ------
    InputError
        The list is damaged or cannot be written.
    """
    names: list[str] = []

    def add(rows: Mapping[str, CaseStatus], files: FileTransaction) -> list[CaseStatus]:
        listed = {(paths.resolve(case.image), case.series) for case in listed_cases(folder).values()}
        lines, columns = _lines(folder)
        image, series = columns.index("image"), columns.index("series")
        listed |= {(paths.resolve(folder.path / line[image]), line[series]) for line in lines}  # of damaged rows too
        taken = set(map(folder_name_key, rows))
        chosen = [volume for volume in volumes if (paths.resolve(volume.path), volume.series) not in listed]
        patients = _pseudonyms(folder, [volume.patient for volume in chosen], files)
        if any(patients) and PATIENT not in columns:
            columns.append(PATIENT)
            lines = [[*line, ""] for line in lines]
        for volume, patient in zip(chosen, patients, strict=True):
            names.append(_free_name(volume.name, taken))
            cells = {"image": _path_text(folder, volume.path), "name": names[-1], "series": volume.series}
            lines.append([(cells | {PATIENT: patient}).get(column, "") for column in columns])
        if chosen:
            files.stream(cases_path(folder)).write(csv_bytes(columns, lines))
        return [
            CaseStatus(name=name, status=Status.SKIPPED, message=NOT_BEGUN, patient=patient)
            for name, patient in zip(names, patients, strict=True)
        ]

    folder.status.change_with_files(add)
    return names


def _pseudonyms(folder: BatchFolder, patients: Sequence[str], files: FileTransaction) -> list[str]:
    """Pseudonyms of patients, empty for those that are not known: the same for a patient whenever cases are added.

    They say nothing without the random key, which is made for the first one and never leaves the data set.
    """
    path = folder.path / KEY_FILE
    if not any(patients):
        return [""] * len(patients)
    try:
        key = read_bytes(path)
    except FileNotFoundError:
        key = secrets.token_bytes(_KEY_BYTES)
        files.stream(path).write(key)
    except OSError as error:
        raise InputError("file_unreadable", path=path, detail=error.strerror) from None

    def pseudonym(patient: str) -> str:
        digest = hmac.digest(key, patient.encode("utf-8", "surrogatepass"), "sha256").hex()
        return f"p{digest[:_PSEUDONYM_DIGITS]}"  # with a letter first, lest a spreadsheet takes it for a number

    return [pseudonym(patient) if patient else "" for patient in patients]


def dataset_task(folder: BatchFolder) -> str:
    """Name or path of the task of a data set; empty if none was chosen.

    Raises
    ------
    InputError
        The file is damaged.
    """
    path = folder.path / SETTINGS_FILE
    try:
        return read_json_as(path, lambda content: str(content["task"]))
    except FileNotFoundError:
        return ""
    except (OSError, DamagedContentError):
        raise InputError("dataset_settings", path=path) from None


def set_dataset_task(folder: BatchFolder, name: str) -> None:
    """Choose the task of a data set; raises `InputError` if that cannot be written."""
    write_json(folder.path / SETTINGS_FILE, {"version": 1, "task": name})


def _lines(folder: BatchFolder) -> tuple[list[list[str]], list[str]]:
    """Rows of the list and its columns, with those that users added."""
    path = cases_path(folder)
    if not paths.is_file(path):
        return [], list(_COLUMNS)
    header, *lines = read_lines(path) or [[]]
    columns = [cell.strip().lower() for cell in header]
    columns += [column for column in _COLUMNS if column not in columns]
    return [[*line, *[""] * (len(columns) - len(line))] for line in lines if any(line)], columns


def _free_name(name: str, taken: set[str]) -> str:
    number = 1
    while folder_name_key(free := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    taken.add(folder_name_key(free))
    return free


def _path_text(folder: BatchFolder, path: Path) -> str:
    """Relative path of an image beside the data set, so that both can be moved; else its absolute path."""
    text = os.path.relpath(path, folder.path) if paths.is_inside(path, folder.path.parent) else str(path)
    if text != text.strip() or escape_formula(text) != text or text != text.encode("utf-8", "replace").decode():
        raise InputError("pair_path", path=path)
    return text
