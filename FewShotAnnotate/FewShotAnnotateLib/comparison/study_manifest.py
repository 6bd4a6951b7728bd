"""The manifest of a study: fully labelled volumes, each in a group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.axis import SliceAxis, labelled_indices, parse_axis
from ..core.errors import InputError
from ..core.files import read_label_maps, read_volume
from ..core.layers import merge_disjoint
from ..core.regrid import Consent
from ..core.table import Row, read_table
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
    series : str
        Which series of a DICOM folder with several, as `read_volume` takes it; empty where there is one.
    agreed : frozenset of Consent
        What may be done to labels of another grid than the image's.
    """

    name: str
    group: str
    image: Path
    label: Path
    axis: SliceAxis | None = None
    series: str = ""
    agreed: frozenset[Consent] = frozenset()

    def read(self) -> Case:
        """The volume with every slice that holds a label as a labelled slice.

        Raises
        ------
        InputError
            A file that cannot be read, another grid, no label.
        """
        volume = read_volume(self.image, self.series or None)
        layers = merge_disjoint(read_label_maps(self.label, volume.geometry, self.agreed)).layers
        spacing = SliceAxis(0).spacing(volume.geometry)
        axis = self.axis or SliceAxis(min(range(3), key=lambda number: (-round(spacing[number], 3), number)))
        anything = np.any([layer.array != 0 for layer in layers], axis=0)
        return Case.of_label_maps(volume, layers, axis, labelled_indices(anything, axis), self.label)


def read_manifest(path: Path, agreed: frozenset[Consent] = frozenset()) -> list[LabelledVolume]:
    """Volumes of a CSV file with the columns `image,label,group` and, if wanted, `name,axis,series`.

    Paths are taken from the file's own folder.

    Raises
    ------
    InputError
        No such file, no table, a column that is missing, or a row that cannot be used; names the row.
    """
    names: set[str] = set()

    def volume_of(row: Row) -> LabelledVolume:
        volume = _volume(row, agreed)
        if volume.name in names:
            raise InputError("volume_name_twice", name=volume.name)
        names.add(volume.name)
        return volume

    return read_table(path, REQUIRED).items(volume_of)


def _volume(row: Row, agreed: frozenset[Consent]) -> LabelledVolume:
    row.require(*REQUIRED)
    name = row.cell("name") or f"volume {row.number - 1}"
    axis = parse_axis(row.cell("axis") or "auto")
    return LabelledVolume(
        name, row.cell("group"), row.existing("image"), row.existing("label"), axis, row.cell("series"), agreed
    )
