"""Manifest of a study: fully labelled volumes, each in a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import InputError, Message
from ..core.layers import labelled_anywhere, merge_disjoint
from ..core.regrid import Consent
from ..core.slice_axis import AxisChoice, labelled_indices, parse_axis, resolve_axis, thickest_axis
from ..io.dicom.origin import channel_notes
from ..io.files import read_channels, read_on_grid, read_volume
from ..io.label_notes import label_notes
from ..io.shear_note import shear_note
from ..io.table import Row, read_table
from .case import ComparisonCase

REQUIRED_COLUMNS = ("image", "label", "group")


@dataclass(frozen=True, kw_only=True)
class LabelledVolume:
    """One row of the manifest.

    Attributes
    ----------
    name : str
        Name in reports; never a file name.
    group : str
        Group of volumes that are averaged, such as a modality or an anatomy.
    image, label : Path
    axis : SliceAxis, Plane or None
        None: the axis with the largest spacing, which is most likely that of acquisition.
    series : str
        Series in a DICOM folder with several, as for `read_volume`; else empty.
    also : tuple of Path
        Further volumes of the same patient in the same position.
    agreed : frozenset of Consent
        Permitted changes to labels that are not on the image's grid.
    complete : bool
        Whether a label that is not on a labelled slice is absent there.
    """

    name: str
    group: str
    image: Path
    label: Path
    axis: AxisChoice | None = None
    series: str = ""
    also: tuple[Path, ...] = ()
    agreed: frozenset[Consent] = frozenset()
    complete: bool = True

    def read(self, on_note: Callable[[Message], None] = lambda note: None) -> ComparisonCase:
        """The volume with every slice that holds a label as a labelled slice.

        Parameters
        ----------
        on_note : callable
            Called with a message on sheared axes, and on each change to labels; it names the volume, and no file.

        Raises
        ------
        InputError
            A file cannot be read, the labels are on another grid, or no voxel is labelled.
        """
        volume = read_channels(read_volume(self.image, self.series or None), self.also)
        regridded = read_on_grid(self.label, volume.geometry, self.agreed)
        notes = label_notes(regridded, self.label, self.image, self.name)
        notes = [*channel_notes(self.also, self.image, self.name), *notes]
        for note in (shear_note(volume.geometry, self.name), *notes):
            if note is not None:
                on_note(note)
        layers = merge_disjoint(regridded.layers).layers
        axis = resolve_axis(self.axis, volume.geometry) or thickest_axis(volume.geometry)
        anything = labelled_anywhere(layers)
        labelled = labelled_indices(anything, axis)
        return ComparisonCase.from_label_maps(volume, layers, axis, labelled, self.label, complete=self.complete)


def read_study_manifest(
    path: Path, agreed: frozenset[Consent] = frozenset(), complete: bool = True
) -> list[LabelledVolume]:
    """Volumes of a CSV file with the columns `image,label,group` and optionally `name,axis,series,also`.

    Paths are relative to the folder of the CSV file. `agreed` and `complete` apply to all volumes.

    Raises
    ------
    InputError
        The file is missing or not a table, a column is missing, or a row, which the message names, cannot be used.
    """
    names: set[str] = set()

    def volume_of(row: Row) -> LabelledVolume:
        volume = replace(_volume(row), agreed=agreed, complete=complete)
        if volume.name in names:
            raise InputError("volume_name_twice", name=volume.name)
        names.add(volume.name)
        return volume

    return read_table(path, REQUIRED_COLUMNS).items(volume_of)


def _volume(row: Row) -> LabelledVolume:
    row.require(*REQUIRED_COLUMNS)
    name = row.cell("name") or f"volume {row.number - 1}"
    axis = parse_axis(row.cell("axis") or "auto")
    return LabelledVolume(
        name=name,
        group=row.cell("group"),
        image=row.existing("image"),
        label=row.existing("label"),
        axis=axis,
        series=row.cell("series"),
        also=row.several_existing("also"),
    )
