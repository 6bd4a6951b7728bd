"""Volumes in a folder: image files, and the DICOM series of each folder with slices."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import paths
from ..core.errors import InputError
from ..io.dicom.folder import image_series, is_dicom
from ..io.files import WRITABLE_SUFFIXES
from ..io.label_names import sidecar_path
from .image_and_label_names import has_label_name, is_in_label_folder, is_segmentation
from .manifest import is_folder_name

_SUFFIXES = (*WRITABLE_SUFFIXES, ".nhdr", ".mhd", ".mgz", ".mgh")
# Files that mark a folder as the result of a batch.
_RESULTS = frozenset(("status.csv", "case.json"))
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class FoundVolume:
    """A volume that was found.

    Attributes
    ----------
    name : str
        From its file or folder, valid as the name of a case.
    path : Path
    series : str
        As of `Case`.
    """

    name: str
    path: Path
    series: str = ""


def find_volumes(folder: Path) -> list[FoundVolume]:
    """Volumes in a folder and all folders within. Files that look like label maps are left out.

    Raises
    ------
    InputError
        There is no such folder, or there is no volume in it.
    """
    paths.require_existing(folder)
    found = list(_found(paths.resolve(folder)))
    if not found:
        raise InputError("no_volumes", path=folder)
    return found


def _found(folder: Path) -> Iterator[FoundVolume]:
    for root, folders, names in os.walk(folder):
        if _RESULTS & set(names):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
        for file in files:
            suffix = _suffix(file)
            if suffix and not _holds_labels(folder, file):
                yield FoundVolume(_name(folder, file, file.name[: -len(suffix)]), file)
        if any(not _suffix(file) and is_dicom(file) for file in files):
            yield from _series(folder, Path(root))


def _series(folder: Path, root: Path) -> Iterator[FoundVolume]:
    all_series = image_series(root)
    base = _name(folder, root, root.name)
    for series in all_series:
        name = base if len(all_series) == 1 else f"{base}-{_plain(series)}"
        yield FoundVolume(name, root, "" if len(all_series) == 1 else series)


def _suffix(file: Path) -> str:
    lower = file.name.lower()
    return next((suffix for suffix in _SUFFIXES if lower.endswith(suffix) and len(lower) > len(suffix)), "")


def _holds_labels(folder: Path, file: Path) -> bool:
    named_as_labels = is_segmentation(file) or has_label_name(file.name[: -len(_suffix(file))])
    in_label_folder = is_in_label_folder(file.relative_to(folder))
    return named_as_labels or in_label_folder or paths.is_file(sidecar_path(file))


def _name(folder: Path, path: Path, stem: str) -> str:
    """Name of a case: that of its file or folder, preceded by the name of the folder that holds it, if any."""
    above = path.parent.relative_to(folder).name if path != folder else ""
    name = _plain(f"{above}-{stem}" if above else stem)
    return name if is_folder_name(name) else "case"


def _plain(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text).strip("-. ")[:80]
