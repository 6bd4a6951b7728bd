"""Content of the output of a command: missing, broken, or a value by which two outputs are compared."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.case_table import CaseTable
from fewshot_annotate.datasets.task.library import task_folder, task_names
from fewshot_annotate.datasets.task.task import read_task
from fewshot_annotate.io.files import read_label_maps, read_volume

from support.faults.cases import PAINTED

# No result, and an incomplete one.
NOTHING, BROKEN = None, "broken"


def label_fact(path: Path, support: Path | None = None) -> Any:
    """Voxels, grid and names of a label map together: they are one result. Painted slices must be the support's."""
    if not path.exists():
        return NOTHING
    try:
        layers = read_label_maps(path)
        painted = read_label_maps(support) if support else []
    except InputError:
        return BROKEN
    if painted and not np.array_equal(layers[0].array[list(PAINTED)], painted[0].array[list(PAINTED)]):
        return "painted slices differ"
    return [
        (_digest(layer.array.tobytes()), layer.geometry.to_json(), [(s.value, s.name) for s in layer.segments])
        for layer in layers
    ]


def image_fact(path: Path) -> Any:
    """Voxels and grid of an image."""
    if not path.exists():
        return NOTHING
    try:
        volume = read_volume(path)
    except InputError:
        return BROKEN
    return _digest(volume.array.tobytes()), volume.geometry.to_json()


def file_fact(path: Path) -> Any:
    """A file's bytes."""
    return _digest(path.read_bytes()) if path.exists() else NOTHING


def table_fact(path: Path, *left_out: str) -> Any:
    """Rows of a table without some columns."""
    if not path.exists():
        return NOTHING
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    return [{key: value for key, value in row.items() if key not in left_out} for row in rows] or BROKEN


def page_fact(path: Path) -> Any:
    """Whether a page is complete."""
    if not path.exists():
        return NOTHING
    return "whole" if path.read_text(encoding="utf-8").rstrip().endswith("</html>") else BROKEN


def json_fact(path: Path) -> Any:
    """Whether a JSON file is complete."""
    if not path.exists():
        return NOTHING
    try:
        json.loads(path.read_text())
    except ValueError:
        return BROKEN
    return "whole"


def task_fact(name: str) -> Any:
    """The content of a task of the library."""
    if name not in task_names():
        return NOTHING
    try:
        task = read_task(task_folder(name))
        pixels = [_digest(array.tobytes()) for one in task.slices for array in task.pixels(one)]
        pictures = [file_fact(task.thumbnail(one)) for one in task.slices]
    except InputError:
        return BROKEN
    return [task.plane, [(s.value, s.name) for s in task.segments], pixels, pictures]


def whole_task_fact(name: str) -> Any:
    """Segments of a task of the library, and voxels and patients of its volumes."""
    if name not in task_names():
        return NOTHING
    try:
        task = read_task(task_folder(name))
        volumes = [example.load() for example in task.training_examples()]
        patients = [example.patient for example in task.training_examples()]
    except InputError:
        return BROKEN
    voxels = [(_digest(volume.array.tobytes()), _digest(labels.tobytes())) for volume, labels in volumes]
    return [[(s.value, s.name) for s in task.segments], patients, voxels]


def review_fact(folder: Path, name: str) -> Any:
    """Review state of a case of a batch."""
    try:
        return {row.name: str(row.state) for row in CaseTable(BatchFolder(folder)).rows()}[name]
    except InputError:
        return BROKEN


def folder_fact(folder: Path) -> Any:
    """Files of a folder: images by their voxels, others by whether they are complete, as they hold dates."""
    if not folder.exists():
        return NOTHING
    facts = {".nii.gz": image_fact, ".json": json_fact}
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        fact = next((fact for suffix, fact in facts.items() if path.name.endswith(suffix)), None)
        found[str(path.relative_to(folder))] = fact(path) if fact else path.stat().st_size > 0
    return BROKEN if BROKEN in found.values() else found


def archive_fact(path: Path) -> Any:
    """Names and content of an archive's members."""
    if not path.exists():
        return NOTHING
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _digest(archive.read(name)) for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError):
        return BROKEN


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
