"""Volumes and label maps from files and DICOM folders, and back; every failure is one clear line."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from . import paths, seg_nrrd
from .dicom_folder import is_dicom
from .dicom_kind import find_segmentation, require_image
from .dicom_seg_reading import read_segmentation
from .dicom_series import read_dicom_volume
from .errors import InputError
from .image_reading import read_image_file
from .image_writing import write_image
from .itk_file import holds, write_itk
from .label_names import read_names, sidecar_path
from .regrid import Consent, Regridded, regrid
from .storage import Replacement, require_name, unwritable
from .volume import (
    Geometry,
    LabelMap,
    Segment,
    Volume,
    as_label_array,
    default_segment,
    present_values,
)

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")


def image_suffix(path: Path) -> str:
    """The suffix of an image file we write, such as '.nii.gz'; `InputError` if it is none."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return suffix
    raise InputError("suffix_unknown", path=path, allowed=", ".join(IMAGE_SUFFIXES))


def read_volume(path: str | Path, series: str | None = None) -> Volume:
    """Scalar volume from any image file SimpleITK reads, from a DICOM folder or a multi-frame DICOM file.

    Parameters
    ----------
    path : path
    series : str, optional
        Which series of a DICOM folder with several: its Series Instance UID, its number or the name of a file.

    Raises
    ------
    InputError
        Missing, unreadable or truncated; not a single-channel 3D image; not finite or constant.
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


def read_label_maps(
    path: str | Path, grid: Geometry | None = None, agreed: Collection[Consent] = ()
) -> list[LabelMap]:
    """Label maps of a file, on `grid`: one, or one per layer where its segments overlap.

    Without `grid` they stay on the file's own. See `read_on_grid`.
    """
    if grid is None:
        return read_layers(path)
    return read_on_grid(path, grid, agreed).layers


def read_on_grid(path: str | Path, grid: Geometry, agreed: Collection[Consent] = ()) -> Regridded:
    """Label maps of a file put on `grid`, and what was done for that.

    Raises
    ------
    InputError
        Missing, unreadable or truncated; values that are not whole numbers; on another grid, and what puts them on
        this one is not agreed to.
    """
    return regrid(read_layers(path, grid), grid, agreed, path)


def read_layers(path: str | Path, images: Geometry | None = None) -> list[LabelMap]:
    """Label maps of a file on its own grid: of any image file, a DICOM segmentation, or a folder that holds one.

    Parameters
    ----------
    images : Geometry, optional
        Grid of the images; see `read_segmentation`.

    Raises
    ------
    InputError
        Missing, unreadable or truncated; values that are not whole numbers; DICOM that holds no labels.
    """
    path = Path(path)
    segmentation = find_segmentation(path)
    if segmentation is not None:
        return read_segmentation(segmentation, images)
    is_seg_nrrd = path.name.lower().endswith(".seg.nrrd")
    if is_seg_nrrd and seg_nrrd.holds_nothing(path):
        return [LabelMap(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1)))]
    image = read_image_file(path)
    if is_seg_nrrd:
        return seg_nrrd.label_maps(image, path)
    if image.components != 1:
        raise InputError("not_scalar", path=path, components=image.components)
    array = as_label_array(image.array, path)
    named = read_names(path)
    segments = tuple(named.get(value, default_segment(value)) for value in present_values(array))
    return [LabelMap(array, image.geometry, segments)]


def write_label_maps(path: str | Path, layers: Sequence[LabelMap]) -> None:
    """Write label maps to one file, whose suffix says the format. Whole or not at all.

    Names, colours and terminology go into the .seg.nrrd itself, else into a sidecar beside the file, called
    as the file and '.labels.json'.

    Raises
    ------
    InputError
        Unknown suffix, a place that cannot be written, or overlapping layers in a format without layers.
    """
    path = Path(path)
    if image_suffix(path) == ".seg.nrrd":
        _write_itk(path, seg_nrrd.to_image(layers))
        return
    label_map = layers[0] if len(layers) == 1 else merge_layers(layers, path)
    named = [segment for segment in label_map.segments if segment != default_segment(segment.value)]
    if named:
        _write_array(path, label_map.array, label_map.geometry, _sidecar_text(named))
    else:
        _write_array(path, label_map.array, label_map.geometry)
        _remove(sidecar_path(path))  # names of the labels that were in the file before


def write_array(path: str | Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a scalar array `[k, j, i]` as an image."""
    image_suffix(Path(path))
    _write_array(Path(path), array, geometry)


def require_writable(path: str | Path, *inputs: str | Path, named: bool = True) -> None:
    """Raise `InputError` if `path` cannot become an image file of ours or is one of the inputs. Leaves no trace.

    A tiny image is really written there: nothing else finds out all that a folder, a disk or a format may refuse.

    Parameters
    ----------
    named : bool
        Whether it is a label map, beside which names of labels may be written.
    """
    path = Path(path)
    suffix = image_suffix(path)
    for source in map(Path, inputs):
        if paths.is_same(path, source) or (paths.is_folder(source) and paths.lies_in(path, source)):
            raise InputError("output_is_input", path=path)
    for one in (path, sidecar_path(path)) if named and suffix != ".seg.nrrd" else (path,):
        if paths.is_folder(one):
            raise InputError("output_unwritable", path=one, detail="it is a folder")
        require_name(one)
    with Replacement() as files:
        if suffix == ".seg.nrrd":
            tiny = sitk.Image(2, 2, 2, sitk.sitkUInt8)
            write_itk(tiny, files.file(path, suffix, lambda written: holds(written, tiny)), compress=True)
        else:
            write_image(files.stream(path), suffix, np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 2)))
        files.rehearse()


def merge_layers(layers: Sequence[LabelMap], path: object) -> LabelMap:
    """One label map of several layers, renumbered where values repeat.

    Raises
    ------
    InputError
        Two layers label the same voxel.
    """
    values = [value for layer in layers for value in layer.values]
    renumber = len(set(values)) < len(values)
    merged = np.zeros(layers[0].array.shape, dtype=np.uint16)
    segments: list[Segment] = []
    for layer in layers:
        if (merged.astype(bool) & (layer.array != 0)).any():
            raise InputError("layers_overlap", path=path, suffix=image_suffix(Path(str(path))))
        for segment in layer.segments:
            value = len(segments) + 1 if renumber else segment.value
            merged[layer.array == segment.value] = value
            segments.append(Segment(value, segment.name, segment.colour, segment.tags, segment.segment_id))
    array = merged.astype(np.uint8) if max((s.value for s in segments), default=0) <= 255 else merged
    return LabelMap(array, layers[0].geometry, tuple(segments))


def _write_array(path: Path, array: np.ndarray, geometry: Geometry, sidecar: str = "") -> None:
    """Write an image, and its sidecar if it has one; both or none."""
    with Replacement() as files:
        write_image(files.stream(path), image_suffix(path), array, geometry)
        if sidecar:
            files.stream(sidecar_path(path)).write(sidecar.encode("utf-8", "replace"))


def _write_itk(path: Path, image: sitk.Image) -> None:
    with Replacement() as files:
        write_itk(image, files.file(path, image_suffix(path), lambda written: holds(written, image)), compress=True)


def _remove(path: Path) -> None:
    """Remove a file if there is one."""
    if paths.is_occupied(path):
        try:
            path.unlink()
        except OSError as error:
            raise unwritable(path, error) from None


def _sidecar_text(segments: Sequence[Segment]) -> str:
    content = {
        str(segment.value): {
            "name": segment.name,
            "colour": list(segment.colour),
            "tags": dict(segment.tags),
        }
        for segment in segments
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
