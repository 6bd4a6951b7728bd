"""Reading and writing of volumes and label maps: image files and DICOM folders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import paths
from ..core.channels import with_further
from ..core.checked_stream import FileIdentity
from ..core.errors import InputError, Message
from ..core.file_transaction import FileTransaction
from ..core.layers import overlap
from ..core.regrid import Consent, Regridded, regrid
from ..core.storage import require_creatable
from ..core.volume import Geometry, LabelMap, Segment, Volume, as_label_array, default_segment, present_values
from . import seg_nrrd
from .arguments import TEXT, checked_arguments
from .dicom.folder import is_dicom
from .dicom.object_kind import find_segmentation, require_image
from .dicom.segmentation import read_segmentation
from .dicom.series import read_dicom_volume
from .image_reading import read_image_file
from .label_names import SUFFIXES_OF_LISTS, read_list, read_names, replace_label_map, require_names, sidecar_path
from .metaimage import write_metaimage
from .nifti import write_nifti
from .nrrd import write_nrrd
from .voxel_stream import Writable, gzip_writer

# Suffixes of image files that can be written.
WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")


def image_suffix(path: Path) -> str:
    """Suffix of an image file to write, such as '.nii.gz'.

    Raises
    ------
    InputError
        It is not one of `WRITABLE_SUFFIXES`.
    """
    for suffix in WRITABLE_SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return suffix
    raise InputError("suffix_unknown", path=path, allowed=", ".join(WRITABLE_SUFFIXES))


@checked_arguments(series=TEXT)
def read_volume(path: str | Path, series: str | None = None) -> Volume:
    """Read a scalar volume from any image file SimpleITK reads, a DICOM folder or a multi-frame DICOM file.

    Parameters
    ----------
    path : str or Path
    series : str, optional
        Series Instance UID, Series Number or the name of a file; needed if the folder holds several DICOM series.

    Returns
    -------
    Volume
        Array [k, j, i] in the data type of the file, or of its rescaled values.

    Raises
    ------
    InputError
        The file is missing, unreadable or truncated, is not a single-channel 3D image, or its voxels are not finite
        or all equal.
    """
    path = Path(path)
    require_image(path)
    if paths.is_folder(path) or is_dicom(path):
        volume = read_dicom_volume(path, series)
        volume.require_usable(path)
        return volume
    image = read_image_file(path)
    if image.components != 1:
        raise InputError("not_scalar", path=path, components=image.components)
    array = image.array
    if array.dtype.kind == "c":
        raise InputError("not_scalar", path=path, components=2)
    if min(array.shape) < 2:
        raise InputError("not_3d", path=path, dimension=sum(size > 1 for size in array.shape))
    volume = Volume(array, image.geometry)
    volume.require_usable(path)
    return volume


def read_channels(volume: Volume, also: Sequence[str | Path]) -> Volume:
    """The volume with further channels from image files or DICOM folders, each on its own grid.

    Raises
    ------
    InputError
        As for `read_volume`; a further volume does not overlap the volume.
    """
    return with_further(volume, [read_volume(path) for path in also], also) if also else volume


def read_label_maps(
    path: str | Path, grid: Geometry | None = None, agreed: Collection[Consent] = ()
) -> list[LabelMap]:
    """Read the label maps of a file: one, or one per layer if segments overlap.

    Parameters
    ----------
    path : str or Path
    grid : Geometry, optional
        Grid to put them on; default: the file's own.
    agreed : collection of Consent
        Lossy operations that are allowed, see `regrid`.

    Raises
    ------
    InputError
        As for `read_on_grid`.
    """
    if grid is None:
        return read_layers(path)
    return read_on_grid(path, grid, agreed).layers


def read_on_grid(path: str | Path, grid: Geometry, agreed: Collection[Consent] = ()) -> Regridded:
    """Read the label maps of a file and put them on `grid`; reports the operations that were needed.

    Raises
    ------
    InputError
        The file is missing, unreadable or truncated; values are not whole numbers; or the labels are on another grid,
        and consent to the operation that would put them on this one is missing.
    """
    return regrid(read_layers(path, grid), grid, agreed, path)


def read_layers(path: str | Path, images: Geometry | None = None) -> list[LabelMap]:
    """Read the label maps of an image file, a DICOM segmentation, or a folder that holds one, on the file's own grid.

    Parameters
    ----------
    path : str or Path
    images : Geometry, optional
        Grid of the source images; see `read_segmentation`.

    Raises
    ------
    InputError
        The file is missing, unreadable or truncated; values are not whole numbers; or it is DICOM without labels.
    """
    path = Path(path)
    segmentation = find_segmentation(path)
    if segmentation is not None:
        return read_segmentation(segmentation, images)
    if is_dicom(path):
        volume = read_dicom_volume(path)
        array = as_label_array(volume.array, path)
        return [LabelMap(array, volume.geometry, tuple(map(default_segment, present_values(array))))]
    is_seg_nrrd = path.name.lower().endswith(".seg.nrrd")
    if is_seg_nrrd and seg_nrrd.has_no_voxels(path):
        return [LabelMap(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1)))]
    image = read_image_file(path)
    if is_seg_nrrd or seg_nrrd.describes_segments(image.metadata):
        return seg_nrrd.label_maps(image, path)
    if image.components != 1:
        raise InputError("not_scalar", path=path, components=image.components)
    array = as_label_array(image.array, path)
    named = read_names(path)
    segments = tuple(named.get(value, default_segment(value)) for value in present_values(array))
    return [LabelMap(array, image.geometry, segments)]


def read_segments(path: Path) -> list[Segment]:
    """Segments that a file describes, by label value: a list of names as for `read_list`, or a label map.

    Raises
    ------
    InputError
        It is missing, or neither, or a name is empty, too long or not one line.
    """
    if path.suffix.lower() in SUFFIXES_OF_LISTS:
        named = read_list(path)
        return [named[value] for value in sorted(named)]
    segments = [segment for layer in read_layers(path) for segment in layer.segments]
    require_names(path, segments)
    return sorted(segments, key=lambda segment: segment.value)


def write_label_maps(path: str | Path, layers: Sequence[LabelMap]) -> None:
    """Write label maps to one file atomically; the suffix determines the format.

    Names, colours and terminology are stored in a .seg.nrrd file itself, for other formats in a sidecar file with the
    name of the file plus '.labels.json'.

    Raises
    ------
    InputError
        The suffix is unknown, the file cannot be written, or layers overlap and the format has no layers.
    """
    path = Path(path)
    if image_suffix(path) == ".seg.nrrd":
        with FileTransaction() as files:
            seg_nrrd.write_seg_nrrd(files.stream(path), layers)
        return
    label_map = layers[0] if len(layers) == 1 else merge_layers(layers, path)
    named = [segment for segment in label_map.segments if segment != default_segment(segment.value)]
    with FileTransaction() as files:
        replace_label_map(
            files,
            path,
            _sidecar_content(named) if named else None,
            lambda: _add_array(files, path, label_map.array, label_map.geometry),
        )


def write_array(path: str | Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a scalar array `[k, j, i]` as an image file; raises `InputError` if it cannot be written."""
    image_suffix(Path(path))
    with FileTransaction() as files:
        _add_array(files, Path(path), array, geometry)


def require_writable(path: str | Path, *inputs: str | Path, named: bool = True) -> None:
    """Raise `InputError` if an image cannot be written to `path`, or if that is one of the inputs.

    A tiny image is written and removed again, because there are many reasons why a file cannot be written.

    Parameters
    ----------
    path : str or Path
    *inputs : str or Path
        Input files and folders that must not be overwritten.
    named : bool
        Whether it is a label map, whose sidecar file must be writable too.
    """
    path = Path(path)
    suffix = image_suffix(path)
    for file in (path, sidecar_path(path)) if named and suffix != ".seg.nrrd" else (path,):
        require_not_input(file, *inputs)
        require_creatable_file(file)
    with FileTransaction() as files:
        write_image(files.stream(path), suffix, np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 2)))
        files.dry_run()


def require_not_input(path: Path, *inputs: str | Path) -> None:
    """Raise `InputError` if a file to be written is one of the inputs, or lies in a folder that is one."""
    for source in map(Path, inputs):
        if paths.is_same(path, source) or (paths.is_folder(source) and paths.is_inside(path, source)):
            raise InputError("output_is_input", path=path)


def require_creatable_file(path: Path) -> None:
    """Raise `InputError` if no file of any type can be created at `path`, where a file may be, but no folder."""
    if paths.is_folder(path):
        raise InputError("output_unwritable", path=path, detail=Message("is_folder"))
    require_creatable(path)


def merge_layers(layers: Sequence[LabelMap], path: object) -> LabelMap:
    """Merge layers into one label map; labels are renumbered if a value is used twice.

    Raises
    ------
    InputError
        Two layers label the same voxel.
    """
    values = [value for layer in layers for value in layer.values]
    renumber = len(set(values)) < len(values)
    if overlap(layers):
        raise InputError("layers_overlap", path=path, suffix=image_suffix(Path(str(path))))
    merged = np.zeros(layers[0].array.shape, dtype=np.uint16)
    segments: list[Segment] = []
    for layer in layers:
        for segment in layer.segments:
            value = len(segments) + 1 if renumber else segment.value
            merged[layer.array == segment.value] = value
            segments.append(replace(segment, value=value))
    array = merged.astype(np.uint8) if max((s.value for s in segments), default=0) <= 255 else merged
    return LabelMap(array, layers[0].geometry, tuple(segments))


def _add_array(
    files: FileTransaction, path: Path, array: np.ndarray, geometry: Geometry
) -> Callable[[], FileIdentity]:
    """Add an image to a transaction; returns a function that returns size and checksum of the file."""
    stream = files.stream(path)
    write_image(stream, image_suffix(path), array, geometry)
    return lambda: stream.identity


def _sidecar_content(segments: Sequence[Segment]) -> dict[str, Any]:
    return {
        str(segment.value): {
            "name": segment.name,
            "colour": list(segment.colour),
            "tags": dict(segment.tags),
        }
        for segment in segments
    }


def write_image(stream: Writable, suffix: str, array: np.ndarray, geometry: Geometry) -> None:
    """Write a scalar array to a stream sequentially.

    Parameters
    ----------
    stream : Writable
        Binary stream.
    suffix : str
        '.nii.gz', '.nii', '.nrrd', '.seg.nrrd' or '.mha'.
    array : ndarray, shape [k, j, i]
    geometry : Geometry
        Its `header` is reproduced if it came from the same format; otherwise the header is derived from the grid.

    Raises
    ------
    InputError
        The format cannot hold the array.
    OSError
    """
    if suffix == ".nii.gz":
        with gzip_writer(stream) as packed:
            write_nifti(packed, array, geometry)
        return
    writers = {".nii": write_nifti, ".nrrd": write_nrrd, ".seg.nrrd": write_nrrd, ".mha": write_metaimage}
    writers[suffix](stream, array, geometry)
