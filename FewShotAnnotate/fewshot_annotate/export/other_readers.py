"""Verification of label map files with SimpleITK and nibabel, which share no code with this package's reader.

A reader may refuse a correct file, as ITK does if NIfTI axes are sheared; the names of the readers that confirmed a
file are part of the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..core.errors import Message
from ..core.volume import LPS_TO_RAS, Geometry, LabelMap
from ..io.files import image_suffix
from ..io.itk_file import read_itk
from ..io.nifti_header import NiftiHeader
from .verification import COLOUR_TOLERANCE, compare_label_maps, difference, grid_difference, of_segment, unreadable

OWN_READER = Message("own_reader")
_ITK = "ITK"
_NIBABEL = "nibabel"
# ITK holds all voxels of all layers in memory; this package's reader takes memory only where there are labels.
MAX_ITK_BYTES = 1 << 30
_AFFINE_TOLERANCE = 1e-5  # of the largest number: 32-bit headers keep seven digits


@dataclass(frozen=True)
class ReadBack:
    """Result of reading a written file back.

    Attributes
    ----------
    differences : tuple of Message
    readers : tuple of Message or str
        Programs that read the same voxels and geometry.
    describers : tuple of Message or str
        Programs that read the same names, colours and codes.
    """

    differences: tuple[Message, ...]
    readers: tuple[Message | str, ...]
    describers: tuple[Message | str, ...]


def read_back(path: Path, layers: Sequence[LabelMap]) -> ReadBack:
    """Compare a written file with `layers`, by all available readers of its format."""
    differences = compare_label_maps(path, layers)
    readers: list[Message | str] = [OWN_READER]
    describers: list[Message | str] = [OWN_READER]
    suffix = image_suffix(path)
    if not differences and sum(layer.array.nbytes for layer in layers) <= MAX_ITK_BYTES:
        try:
            image = read_itk(path, suffix)
        except RuntimeError:  # ITK refuses some correct files, such as those with sheared axes
            image = None
        if image is not None:
            differences += _voxels_of_itk(image, path, layers)
            readers.append("SimpleITK")
            if suffix == ".seg.nrrd":
                differences += _segments_of_itk(image, layers)
                describers.append("SimpleITK")
    if not differences and suffix.startswith(".nii") and find_spec("nibabel"):
        differences += _differences_of_nibabel(path, layers[0])
        readers.append("nibabel")
    return ReadBack(tuple(differences), tuple(readers), tuple(describers))


def combine(results: Sequence[ReadBack]) -> ReadBack:
    """Combine the results of several files; only readers that read all of them are kept."""
    differences = tuple(difference for result in results for difference in result.differences)
    first = results[0]
    readers = tuple(name for name in first.readers if all(name in result.readers for result in results))
    describers = tuple(name for name in first.describers if all(name in result.describers for result in results))
    return ReadBack(differences, readers, describers)


def _voxels_of_itk(image: sitk.Image, path: Path, layers: Sequence[LabelMap]) -> list[Message]:
    expected = np.stack([layer.array for layer in layers], axis=-1)
    array = sitk.GetArrayFromImage(image)
    if array.size != expected.size or (array.reshape(expected.shape) != expected).any():
        return [Message("voxels_differ_for", reader=_ITK)]
    off = grid_difference(path, layers[0].geometry, Geometry.of_image(image))
    return [_read_by(_ITK, off)] if off else []


def _read_by(reader: str, found: Message) -> Message:
    return Message("difference_for", reader=reader, difference=found)


def _segments_of_itk(image: sitk.Image, layers: Sequence[LabelMap]) -> list[Message]:
    """Names, colours and tags in the fields of a .seg.nrrd header."""
    keys = set(image.GetMetaDataKeys())
    differences = []
    numbered = [(number, segment) for number, layer in enumerate(layers) for segment in layer.segments]
    for count, (layer_number, segment) in enumerate(numbered):

        def text(name: str, count: int = count) -> str:
            key = f"Segment{count}_{name}"
            return image.GetMetaData(key) if key in keys else ""

        written = {"Layer": str(layer_number), "LabelValue": str(segment.value), "Name": segment.name}
        differences += [
            difference(of_segment(field, segment.name), value, text(field))
            for field, value in written.items()
            if text(field) != value
        ]
        colour = [float(component) for component in text("Color").split()]
        if len(colour) != 3 or not np.allclose(colour, segment.colour, atol=COLOUR_TOLERANCE):
            differences.append(difference(of_segment("Color", segment.name), segment.colour, colour))
        stated = {f"{name}:{content}" for name, content in segment.tags.items()}
        if not stated <= set(text("Tags").split("|")):
            differences.append(difference(of_segment("Tags", segment.name), stated, text("Tags")))
    return [_read_by(_ITK, found) for found in differences]


def _differences_of_nibabel(path: Path, layer: LabelMap) -> list[Message]:
    """Differences of voxels and geometry; the header of the image, if known, must be reproduced exactly."""
    import nibabel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Any = nibabel.load(path)
            array = np.asarray(image.dataobj)
    except Exception as error:  # readers raise errors of many types for an incorrect file
        return [unreadable(_NIBABEL, error)]
    if array.T.shape != layer.array.shape or (layer.array != array.T).any():
        return [Message("voxels_differ_for", reader=_NIBABEL)]
    geometry, header = layer.geometry, image.header
    if isinstance(geometry.header, NiftiHeader):
        stored = geometry.header
        for name, expected, found in (
            ("qform_code", stored.qform_code, header["qform_code"]),
            ("sform_code", stored.sform_code, header["sform_code"]),
            ("xyzt_units", stored.xyzt_units, header["xyzt_units"]),
            ("pixdim", stored.pixdim, header["pixdim"][:4]),
            ("qform", stored.quatern, [header[f"quatern_{axis}"] for axis in "bcd"] + _offset(header)),
            ("sform", stored.srow, np.concatenate([header[f"srow_{axis}"] for axis in "xyz"])),
        ):
            expected_values, found_values = np.asarray(expected, np.float32), np.asarray(found, np.float32)
            if not np.array_equal(expected_values, found_values, equal_nan=True):
                return [_read_by(_NIBABEL, difference(name, expected, np.asarray(found).tolist()))]
        return []
    matrix = geometry.index_to_world
    expected = LPS_TO_RAS @ np.column_stack([matrix, geometry.origin])
    if not np.allclose(image.affine[:3], expected, rtol=0, atol=_AFFINE_TOLERANCE * np.abs(expected).max()):
        return [_read_by(_NIBABEL, difference("affine", expected.tolist(), image.affine[:3].tolist()))]
    return []


def _offset(header: Any) -> list[float]:
    return [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
