"""Volumes in a folder: image files, and the DICOM series of each folder with slices."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core import paths
from ..core.errors import InputError
from ..core.folder_names import folder_name_key
from ..io.dicom.folder import image_series, is_dicom
from ..io.label_names import sidecar_path
from .image_and_label_names import (
    has_label_name,
    image_suffix,
    is_image_folder,
    is_in_label_folder,
    is_segmentation,
    without_channel,
    without_suffix,
)
from .manifest import is_case_name

# Files that mark a folder as the result of a batch.
_RESULTS = frozenset(("status.csv", "case.json"))
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_NAME_CHARACTERS = 80
# End of the name of an image of nnU-Net: its first channel.
_FIRST_CHANNEL = "_0000"


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
    patient : str
        As of `NamedSeries`; empty for other files than DICOM.
    """

    name: str
    path: Path
    series: str = ""
    patient: str = field(default="", repr=False)


@dataclass(frozen=True)
class FoundVolumes:
    """The volumes in a folder, and what was left out.

    Attributes
    ----------
    volumes : tuple of FoundVolume, at least one
    label_maps : tuple of Path
        Image files that are named as label maps, or lie in a folder that is; relative to the folder.
    links : int
        Number of links to volumes that were found.
    """

    volumes: tuple[FoundVolume, ...]
    label_maps: tuple[Path, ...]
    links: int


def find_volumes(folder: Path) -> FoundVolumes:
    """Find the volumes in a folder and all folders within. Files that look like label maps are left out.

    Raises
    ------
    InputError
        There is no such folder, or there is no volume in it.
    """
    paths.require_existing(folder)
    root = paths.resolve(folder)
    label_maps: list[Path] = []
    found = list(_found(root, label_maps))
    if not found:
        if label_maps:
            raise InputError("no_volumes_but_labels", path=folder, count=len(label_maps), file=label_maps[0])
        raise InputError("no_volumes", path=folder)
    unique: dict[tuple[Path, str], FoundVolume] = {}  # a file and a link to it are one volume
    for volume in sorted(found, key=lambda volume: paths.is_link(volume.path)):
        unique.setdefault((paths.resolve(volume.path), volume.series), volume)
    volumes = _with_unique_names(root, list(unique.values()))
    return FoundVolumes(volumes, tuple(label_maps), len(found) - len(volumes))


def _with_unique_names(root: Path, volumes: Sequence[FoundVolume]) -> tuple[FoundVolume, ...]:
    """Volumes named by their whole path in the folder where shorter names would be the same."""
    counts = Counter(folder_name_key(volume.name) for volume in volumes)
    return tuple(
        volume if counts[folder_name_key(volume.name)] == 1 else replace(volume, name=_long_name(root, volume))
        for volume in volumes
    )


def _found(folder: Path, label_maps: list[Path]) -> Iterator[FoundVolume]:
    """The volumes; files that look like label maps are added to a list."""
    for root, folders, names in os.walk(folder):
        if _RESULTS & set(names):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
        stems = _case_stems(names)
        for file in files:
            if not image_suffix(file.name):
                continue
            if _holds_labels(folder, file):
                label_maps.append(file.relative_to(folder))
            else:
                yield FoundVolume(_name(folder, file, stems[file.name]), file)
        if any(not image_suffix(file.name) and is_dicom(file) for file in files):
            yield from _series(folder, Path(root))


def _series(folder: Path, root: Path) -> Iterator[FoundVolume]:
    all_series = image_series(root)
    base = _name(folder, root, root.name)
    for series in all_series:
        name = base if len(all_series) == 1 else f"{base}-{_plain(series.name)}"
        yield FoundVolume(name, root, "" if len(all_series) == 1 else series.name, series.patient)


def _holds_labels(folder: Path, file: Path) -> bool:
    named_as_labels = is_segmentation(file) or has_label_name(without_suffix(file.name))
    in_label_folder = is_in_label_folder(file.relative_to(folder))
    return named_as_labels or in_label_folder or paths.is_file(sidecar_path(file))


def _case_stems(names: Sequence[str]) -> dict[str, str]:
    """Names of files in a folder without suffix, and without the number of the first channel if no other is there."""
    stems = {name: without_suffix(name) for name in names}
    channels = Counter(without_channel(stem) for stem in stems.values() if stem != without_channel(stem))
    return {
        name: case if channels[case := stem.removesuffix(_FIRST_CHANNEL)] == 1 else stem
        for name, stem in stems.items()
    }


def _name(folder: Path, path: Path, stem: str) -> str:
    """Name of a case: that of its file or folder, preceded by that of the folder above it, if any.

    Folders whose name says only that they hold images are skipped.
    """
    folders = path.parent.relative_to(folder).parts if path != folder else ()
    above = next((name for name in reversed(folders) if not is_image_folder(name)), "")
    name = _plain(f"{above}-{stem}" if above else stem)
    return name if is_case_name(name) else "case"


def _long_name(root: Path, volume: FoundVolume) -> str:
    """Name of a case: its whole path in the searched folder."""
    path = without_suffix(volume.path.relative_to(root).as_posix())
    name = _plain("-".join([*path.split("/"), *([_plain(volume.series)] if volume.series else [])]))
    return name if is_case_name(name) else volume.name


def _plain(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)  # macOS stores accents apart from their letters
    return _NOT_IN_NAMES.sub("-", composed).strip("-. ")[:_NAME_CHARACTERS]
