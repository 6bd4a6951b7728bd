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
from ..io.files import IMAGE_SUFFIXES
from ..io.label_names import sidecar_path
from .manifest import is_folder_name

_SUFFIXES = (*IMAGE_SUFFIXES, ".nhdr", ".mhd", ".mgz", ".mgh")
_LABEL_SUFFIX = ".seg.nrrd"
# Words in the names of files that hold labels.
_LABEL_WORDS = frozenset(("label", "labels", "seg", "segmentation", "mask", "masks", "dseg", "aseg", "gt"))
# Files that only results of a batch hold.
_RESULTS = frozenset(("status.csv", "case.json"))
_WORD = re.compile(r"[a-z]+")
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
            if suffix and not _holds_labels(file):
                yield FoundVolume(_name(folder, file, file.name[: -len(suffix)]), file)
        if any(not _suffix(file) and is_dicom(file) for file in files):
            yield from _series(folder, Path(root))


def _series(folder: Path, root: Path) -> Iterator[FoundVolume]:
    series = image_series(root)
    base = _name(folder, root, root.name)
    for one in series:
        yield FoundVolume(base, root) if len(series) == 1 else FoundVolume(f"{base}-{_plain(one)}", root, one)


def _suffix(file: Path) -> str:
    lower = file.name.lower()
    return next((one for one in _SUFFIXES if lower.endswith(one) and len(lower) > len(one)), "")


def _holds_labels(file: Path) -> bool:
    words = set(_WORD.findall(file.name[: -len(_suffix(file))].lower()))
    return (
        file.name.lower().endswith(_LABEL_SUFFIX) or bool(words & _LABEL_WORDS) or paths.is_file(sidecar_path(file))
    )


def _name(folder: Path, path: Path, own: str) -> str:
    """Name of a case: that of its file or folder, after the folder above where there is one."""
    above = path.parent.relative_to(folder).name if path != folder else ""
    name = _plain(f"{above}-{own}" if above else own)
    return name if is_folder_name(name) else "case"


def _plain(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text).strip("-. ")[:80]
