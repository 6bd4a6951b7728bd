"""Pixel values of DICOM frames: decoded, and rescaled frame by frame (the modality LUT, PS3.3 C.11.1).

Uncompressed and RLE pixels are decoded by pydicom, the JPEG family by GDCM through SimpleITK, which needs no further
package.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...core.errors import InputError, Message
from ...core.temporary import TemporaryFolder
from ..itk_file import read_itk
from .attributes import file_name, frame_count
from .frames import Frame

# JPEG, JPEG lossless, JPEG-LS and JPEG 2000.
_GDCM_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91))
_RLE = "1.2.840.10008.1.2.5"
# Implicit and explicit, deflated, big endian. Any other is compressed, also if pydicom does not know it yet.
_UNCOMPRESSED = tuple(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PIXEL_ATTRIBUTES = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PixelData"),
)
# Maximum rounding error of 32-bit floating point, as a fraction of a step of the stored integers.
_ROUNDING = 1 / 64
_INTEGERS = (np.int16, np.uint16, np.int32, np.uint32)


def frame_values(frames: Sequence[Frame], path: Path) -> np.ndarray:
    """Values of frames of one size, shape [frames, rows, columns].

    Integers if all rescaled values are whole numbers, otherwise floating point, with 64 bits if 32 bits are too few
    to distinguish the stored integers. MONOCHROME1 is not inverted, padding is kept and manufacturers' private scales
    are not applied, as in ITK.

    Raises
    ------
    InputError
        A file is damaged or compressed in a way that cannot be decoded here.
    """
    stored: list[np.ndarray] = [np.empty(0)] * len(frames)
    numbers_of_file: dict[Path, list[int]] = {}
    for number, frame in enumerate(frames):
        numbers_of_file.setdefault(frame.file, []).append(number)
    for file, numbers in numbers_of_file.items():
        pixels = _read_pixels(file, frames[numbers[0]], path)
        for number in numbers:
            stored[number] = pixels[frames[number].number]
    values = np.empty((len(frames), *frames[0].shape), dtype=_value_type(stored, frames))
    for number, frame in enumerate(frames):
        values[number] = _rescaled(stored[number], frame, values.dtype)
        stored[number] = np.empty(0)
    return values


def _rescaled(stored: np.ndarray, frame: Frame, kind: np.dtype) -> np.ndarray:
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return stored
    if kind.kind == "f":
        return stored.astype(np.float64) * frame.slope + frame.intercept
    return stored.astype(np.int64) * int(frame.slope) + int(frame.intercept)


def _value_type(stored: Sequence[np.ndarray], frames: Sequence[Frame]) -> np.dtype:
    """Smallest type that holds the values of all frames."""
    kinds = {pixels.dtype for pixels in stored}
    ends = []
    all_integer, needs_64_bits = all(kind.kind in "iu" for kind in kinds), np.dtype(np.float64) in kinds
    for pixels, frame in zip(stored, frames, strict=True):
        rescaled_range = [float(end) * frame.slope + frame.intercept for end in (pixels.min(), pixels.max())]
        ends += rescaled_range
        all_integer &= frame.slope.is_integer() and frame.intercept.is_integer()
        largest = max(map(abs, rescaled_range))
        if pixels.dtype.kind in "iu":
            needs_64_bits |= bool(np.spacing(np.float32(largest)) > 2 * _ROUNDING * abs(frame.slope))
    candidates: list[np.dtype] = [*(kinds if len(kinds) == 1 else ()), *map(np.dtype, _INTEGERS)]
    for kind in candidates if all_integer else ():
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            return kind
    return np.dtype(np.float64 if needs_64_bits or all_integer else np.float32)


def _read_pixels(file: Path, frame: Frame, path: Path) -> np.ndarray:
    """Stored values of all frames of a file, shape [frames, rows, columns], after the Modality LUT if it has one."""
    from pydicom import dcmread
    from pydicom.uid import UID

    damaged = InputError("file_unreadable", path=file, detail=Message("slice_damaged"))
    try:
        dataset = dcmread(file, force=True)
        syntax = transfer_syntax(dataset)
        missing = _missing_attributes(dataset)
    except Exception:  # pydicom and its decoders raise errors of many types for damaged data
        raise damaged from None
    if "Rows" not in dataset:  # of a file that ends within a compressed frame, pydicom returns nothing
        raise damaged
    if missing:
        raise InputError("file_unreadable", path=file, detail=Message("header_lacks", names=", ".join(missing)))
    try:
        if syntax in _GDCM_SYNTAXES:
            pixels = _decode_with_gdcm(dataset)
        else:
            pixels = _without_unused_bits(np.asarray(dataset.pixel_array), dataset)
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        pixels = pixels.reshape(frame_count(frame.header), *frame.shape)
        if dataset.get("ModalityLUTSequence"):
            pixels = _apply_modality_lut(pixels, dataset)
    except Exception:
        if UID(syntax).is_valid and syntax not in (*_GDCM_SYNTAXES, _RLE, *_UNCOMPRESSED):
            name = UID(syntax).name
            raise InputError("series_compressed", path=path, first=file_name(frame.header), what=name) from None
        raise damaged from None
    return pixels


def _missing_attributes(dataset: Any) -> list[str]:
    """Missing attributes without which pixels cannot be decoded; those with an obvious value are filled in."""
    from pydicom.datadict import dictionary_description

    if "BitsAllocated" in dataset and "BitsStored" not in dataset:
        dataset.BitsStored = dataset.BitsAllocated
    if "SamplesPerPixel" not in dataset:
        dataset.SamplesPerPixel = 1
    if "PhotometricInterpretation" not in dataset and dataset.SamplesPerPixel == 1:
        dataset.PhotometricInterpretation = "MONOCHROME2"
    has_integers = "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset
    required = ("Rows", "Columns", "BitsAllocated", *(("PixelRepresentation", "PixelData") if has_integers else ()))
    return [dictionary_description(name) for name in required if name not in dataset]


def transfer_syntax(dataset: Any) -> str:
    """Transfer syntax; if the file does not state it, the one pydicom guessed is set in the file meta information."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        implicit, little = dataset.original_encoding if hasattr(dataset, "original_encoding") else _encoding(dataset)
        syntax = "1.2.840.10008.1.2" if implicit else f"1.2.840.10008.1.2.{1 if little else 2}"
        dataset.file_meta.TransferSyntaxUID = syntax
    return str(syntax)


def _encoding(dataset: Any) -> tuple[bool, bool]:
    """Whether the encoding of a file is implicit VR, and whether it is little endian, in pydicom 2."""
    return bool(dataset.read_implicit_vr), bool(dataset.read_little_endian)


def _without_unused_bits(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Pixels without the bits above Bits Stored, which may hold an overlay (PS3.5 8.1.1)."""
    bits = 8 * pixels.dtype.itemsize
    unused = bits - int(dataset.get("BitsStored") or bits)
    if pixels.dtype.kind not in "iu" or unused <= 0:
        return pixels
    return pixels << unused >> unused


def _decode_with_gdcm(dataset: Any) -> np.ndarray:
    """Stored values of compressed pixels. GDCM would rescale them, so it gets a file without rescale attributes."""
    elements = [dataset[name] for name in _PIXEL_ATTRIBUTES if name in dataset]
    dataset.clear()
    for element in elements:
        dataset.add(element)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = _SECONDARY_CAPTURE
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    with TemporaryFolder() as folder:
        file = folder / "pixels.dcm"
        dataset.save_as(file)
        return np.asarray(sitk.GetArrayFromImage(read_itk(file)))


def _apply_modality_lut(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Look up pixel values in the table of a Modality LUT Sequence."""
    try:
        handlers = import_module("pydicom.pixels")
    except ImportError:  # pydicom 2
        handlers = import_module("pydicom.pixel_data_handlers")
    return np.asarray(handlers.apply_modality_lut(pixels, dataset))
