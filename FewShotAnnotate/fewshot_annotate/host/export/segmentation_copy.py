"""What is exported: the user's settings, and a copy of what the export needs of the nodes, free of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import vtk

from ... import __version__
from ...core.errors import InputError, Message
from ...core.segment_tags import NAME_TAG, TERMINOLOGY_TAG, TYPE_TAG, VERSION_TAG, WEIGHTS_TAG
from ...core.terminology import Terminology
from ...core.volume import Geometry, LabelMap, Segment, Volume
from ...export.algorithm import Algorithm
from ...export.dicom_seg import SegType
from ...export.dicom_series import read_series, read_series_files
from ...export.preflight import Preflight, check
from ...export.request import Derivation, ExportRequest, Modality, Remedy, Target
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import Layer
from ..mrml.grid_reader import grid_version
from ..mrml.node_types import VtkSegment
from ..mrml.reading import grid_in_volume, image_array, read_grid, volume_geometry
from .dicom_database import DicomDatabase, source_files

_TAGS = (TERMINOLOGY_TAG, TYPE_TAG, NAME_TAG, VERSION_TAG, WEIGHTS_TAG)
_DATABASE_NAME = "segmentation.dcm"


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What the user asked for.

    Attributes
    ----------
    output : Path or None
        File, or folder for one file per segment; None: the application's DICOM database.
    segment_ids : tuple of str
        Empty: all segments.
    reference : Path or None
        Folder of the DICOM series, where the volume does not name its files.
    derived_folder : Path or None
        Folder for a derived series; None: `images` next to the output, or the database.
    patient_id, patient_name : str
        For a derived series; if empty, they are generated.
    agreed : frozenset of Remedy
    codes : mapping of str to Terminology
        Segment name -> what it is; '*' for all that have no code otherwise.
    algorithm : Algorithm or None
        What made the segments whose tags do not say it.
    """

    target: Target
    output: Path | None
    segment_ids: tuple[str, ...] = ()
    type: SegType = SegType.BINARY
    one_file_per_segment: bool = False
    reference: Path | None = None
    derived_folder: Path | None = None
    modality: Modality = Modality.OTHER
    patient_id: str = ""
    patient_name: str = ""
    agreed: frozenset[Remedy] = frozenset()
    codes: Mapping[str, Terminology] = field(default_factory=dict)
    algorithm: Algorithm | None = None


def with_remedy(settings: ExportSettings, remedy: Remedy) -> ExportSettings:
    """The settings with a remedy applied.

    `GIVE_REFERENCE`, `GIVE_ENGINE` and `GIVE_CODE` need more than a click: set `reference`, `algorithm` or `codes`.
    """
    match remedy:
        case Remedy.TYPE_BINARY:
            return replace(settings, type=SegType.BINARY)
        case Remedy.ONE_FILE_PER_SEGMENT:
            return replace(settings, one_file_per_segment=True, output=_without_suffix(settings))
        case Remedy.TO_SEG_NRRD:
            output = _without_suffix(settings)
            return replace(
                settings, target=Target.SEG_NRRD, output=output and output.with_name(f"{output.name}.seg.nrrd")
            )
        case _:
            return replace(settings, agreed=settings.agreed | {remedy})


@dataclass(frozen=True, kw_only=True)
class SegmentationCopy:
    """Copy of the nodes; `layers` and `volume` are views of their voxels until `copied`.

    Attributes
    ----------
    name : str
    geometry : Geometry
        Grid of the segmentation, in the coordinates of the volume's images.
    layers : tuple of Layer
    segments : mapping of str to Segment
        By segment id, in the order of the export.
    files : sequence of Path
        DICOM files of the slices of the volume, where the database has them.
    volume : Volume or None
        The volume, from which a DICOM series can be derived.
    """

    name: str
    geometry: Geometry
    layers: tuple[Layer, ...]
    segments: Mapping[str, Segment]
    files: Sequence[Path]
    volume: Volume | None

    def copied(self) -> SegmentationCopy:
        """The same with copies of all voxels, so that the user can continue to paint. For a background thread."""
        volume = self.volume
        return replace(
            self,
            layers=tuple(layer.copied() for layer in self.layers),
            volume=None if volume is None else replace(volume, array=volume.array.copy()),
        )


def read_segmentation(
    nodes: ChosenNodes, settings: ExportSettings, database: DicomDatabase | None
) -> SegmentationCopy:
    """Read what the export needs; no voxel is copied yet.

    Raises
    ------
    InputError
        The nodes cannot be used, or there is no DICOM database to export to.
    """
    segmentation_node, volume_node = nodes.segmentation, nodes.volume
    if settings.output is None and database is None:
        raise InputError("database_missing")
    grid = read_grid(volume_node, segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    segment_ids = settings.segment_ids or tuple(segmentation.GetSegmentIDs())
    segments = {name: read_segment(segmentation.GetSegment(name), name) for name in segment_ids}
    dicom = settings.target is Target.DICOM_SEG
    files = source_files(volume_node, database) if dicom and settings.reference is None else []
    volume = None
    if dicom and not files and settings.reference is None:
        image = volume_node.GetImageData()
        if image is None or image.GetNumberOfScalarComponents() != 1:
            raise InputError("node_not_volume", name=volume_node.GetName())
        volume = Volume(image_array(image), volume_geometry(volume_node))
    geometry = grid_in_volume(grid.geometry, volume_node, segmentation_node)
    return SegmentationCopy(
        name=segmentation_node.GetName(),
        geometry=geometry,
        layers=grid.layers_of(segment_ids),
        segments=segments,
        files=files,
        volume=volume,
    )


def voxels_version(nodes: ChosenNodes, settings: ExportSettings) -> tuple[object, ...]:
    """A value that changes with the voxels that an export with these settings may copy. Takes microseconds."""
    image = nodes.volume.GetImageData() if settings.target is Target.DICOM_SEG else None
    return (grid_version(nodes), image, image.GetMTime() if image is not None else 0)


def read_segment(segment: VtkSegment, segment_id: str) -> Segment:
    """Name, colour and the tags that an export uses, of a segment of the scene."""
    tags = {}
    for name in _TAGS:
        text = vtk.reference("")
        if segment.GetTag(name, text):
            tags[name] = str(text)
    red, green, blue = (float(component) for component in segment.GetColor())
    return Segment(
        value=segment.GetLabelValue(),
        name=segment.GetName(),
        colour=(red, green, blue),
        tags=tags,
        segment_id=segment_id,
    )


def check_copy(copied: SegmentationCopy, settings: ExportSettings, database_folder: Path | None) -> Preflight:
    """Pre-flight of a copy. For a background thread."""
    output = settings.output if database_folder is None else database_folder / _DATABASE_NAME
    assert output is not None
    series = None
    if settings.target is Target.DICOM_SEG:
        if settings.reference is not None:
            series = read_series(settings.reference)
        elif copied.files:
            series = read_series_files(copied.files, copied.files[0].parent)
    derivation = None
    if series is None and copied.volume is not None and Remedy.DERIVE_SERIES in settings.agreed:
        folder = settings.derived_folder or output.with_name("images")
        derivation = Derivation(copied.volume, folder, settings.modality, settings.patient_id, settings.patient_name)
    return check(
        ExportRequest(
            layers=tuple(_label_maps(copied)),
            output=output,
            target=settings.target,
            software_version=__version__,
            algorithm=settings.algorithm,
            series=series,
            grid=None,
            derivation=derivation,
            type=settings.type,
            one_file_per_segment=settings.one_file_per_segment,
            agreed=settings.agreed,
            codes=settings.codes,
            order=tuple(copied.segments),
            source=Message("segmentation_named", name=copied.name),
        )
    )


def _label_maps(copied: SegmentationCopy) -> list[LabelMap]:
    """The layers on the whole grid; an empty one if no segment holds a voxel."""
    result = []
    for layer in copied.layers:
        array = np.zeros(copied.geometry.shape, dtype=np.uint16)
        box = tuple(slice(first, first + size) for first, size in zip(layer.offset, layer.array.shape, strict=True))
        target = array[box]
        exported = [(value, copied.segments[name]) for value, name in layer.segments.items()]
        for value, _ in exported:
            target[layer.array == value] = value
        segments = tuple(replace(segment, value=value) for value, segment in exported)
        dtype = np.min_scalar_type(max(value for value, _ in exported))
        result.append(LabelMap(array.astype(dtype, copy=False), copied.geometry, segments))
    return result or [LabelMap.empty(copied.geometry, ())]


def _without_suffix(settings: ExportSettings) -> Path | None:
    """Output without the suffix of its format."""
    if settings.output is None:
        return None
    for suffix in settings.target.suffixes:
        if settings.output.name.lower().endswith(suffix):
            return settings.output.with_name(settings.output.name[: -len(suffix)])
    return settings.output
