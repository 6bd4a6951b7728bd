"""The manifest of a study: fully labelled volumes, each in a group."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.axis import SliceAxis, labelled_indices
from ..core.errors import InputError
from ..core.files import read_label_maps, read_volume
from .case import Case

REQUIRED = ("image", "label", "group")


@dataclass(frozen=True)
class LabelledVolume:
    """One row of the manifest.

    Attributes
    ----------
    name : str
        As the reports call it; never a file's name.
    group : str
        What it is compared within: a modality, an anatomy.
    image, label : Path
    axis : SliceAxis or None
        None: across the thickest spacing, as it was most likely acquired.
    """

    name: str
    group: str
    image: Path
    label: Path
    axis: SliceAxis | None = None

    def read(self) -> Case:
        """The volume with every slice that holds a label as a labelled slice.

        Raises
        ------
        InputError
            A file that cannot be read, another grid, no label.
        """
        volume = read_volume(self.image)
        layers = read_label_maps(self.label, volume.geometry)
        spacing = SliceAxis(0).spacing(volume.geometry)
        axis = self.axis or SliceAxis(min(range(3), key=lambda number: (-round(spacing[number], 3), number)))
        anything = np.any([layer.array != 0 for layer in layers], axis=0)
        return Case.of_label_maps(volume, layers, axis, labelled_indices(anything, axis), self.label)


def read_manifest(path: Path) -> list[LabelledVolume]:
    """Volumes of a CSV file with the columns `image,label,group` and, if wanted, `name,axis`.

    Paths are taken from the file's own folder.

    Raises
    ------
    InputError
        No such file, no table, a column that is missing, or a row that cannot be used; names the row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, restval="", strict=True))
    except FileNotFoundError:
        raise InputError("file_missing", path=path) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        detail = getattr(error, "strerror", None) or "it is no table"
        raise InputError("manifest_unreadable", path=path, detail=detail) from None
    missing = [column for column in REQUIRED if not rows or column not in rows[0]]
    if rows and missing:
        raise InputError("manifest_columns", path=path, missing=" and ".join(missing), header=",".join(REQUIRED))
    volumes: list[LabelledVolume] = []
    for number, row in enumerate(rows, start=2):
        try:
            volumes.append(_volume(path.parent, number - 1, row))
            if volumes[-1].name in [one.name for one in volumes[:-1]]:
                raise InputError("volume_name_twice", name=volumes[-1].name)
        except InputError as error:
            raise InputError("manifest_row", path=path, row=number, detail=error) from None
    if not volumes:
        raise InputError("manifest_empty", path=path)
    return volumes


def _volume(folder: Path, number: int, row: dict[str, str]) -> LabelledVolume:
    cells = {column: (value or "").strip() for column, value in row.items() if isinstance(value, str)}
    for column in REQUIRED:
        if not cells.get(column):
            raise InputError("manifest_cell_empty", column=column)
    axis = cells.get("axis", "")
    if axis not in ("", "auto", "0", "1", "2"):
        raise InputError("axis_out_of_range", axis=axis)
    image, label = folder / cells["image"], folder / cells["label"]
    for file in (image, label):
        if not file.exists():
            raise InputError("file_missing", path=file)
    chosen = SliceAxis(int(axis)) if axis.isdigit() else None
    return LabelledVolume(cells.get("name") or f"volume {number}", cells["group"], image, label, chosen)
