"""Comparison of the patient and frame of reference of DICOM files that are used together: images and labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...core import paths
from ...core.errors import Message
from .attributes import SEGMENTATIONS, attribute, require_pydicom, suppress_dicom_warnings
from .folder import is_dicom
from .object_kind import find_segmentation, storage_class


def origin_note(labels: Path, image: Path, name: object) -> Message | None:
    """Message if no image has the Patient ID, or Frame of Reference UID, of the DICOM labels; else None.

    None too if they cannot be compared, because labels or images are no DICOM, or lack the attribute.

    Parameters
    ----------
    labels : Path
        File or folder of the labels, in any format.
    image : Path
        File or folder of the images, in any format. The folder may hold several series.
    name : object
        Denotes the labels in the message.
    """
    return _note(find_segmentation(labels) or (labels if is_dicom(labels) else None), image, name)


def channel_notes(channels: Sequence[Path], image: Path, name: str | None = None) -> list[Message]:
    """As `origin_note`, for the files or folders of further channels, each denoted by `name` (default: its path)."""
    notes = [_note(next(_images(channel), None), image, channel if name is None else name) for channel in channels]
    return [note for note in notes if note is not None]


def _note(file: Path | None, image: Path, name: object) -> Message | None:
    if file is None:
        return None
    if _differs("PatientID", file, image):
        return Message("of_another_patient", path=name)
    if _differs("FrameOfReferenceUID", file, image):
        return Message("of_another_frame", path=name)
    return None


def _differs(keyword: str, file: Path, image: Path) -> bool:
    """Whether some images have an attribute that the file has too, but none has the same value."""
    value = _value(keyword, file)
    differs = False
    for image_file in _images(image) if value else ():
        other = _value(keyword, image_file)
        if other == value:
            return False
        differs |= bool(other)
    return differs


def _images(path: Path) -> Iterator[Path]:
    """DICOM files, in folders within a folder too, that are no segmentations."""
    files = _files(path) if paths.is_folder(path) else iter([path])
    return (file for file in files if is_dicom(file) and storage_class(file) not in SEGMENTATIONS)


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def _value(keyword: str, path: Path) -> str:
    """An attribute of a file; empty if it is missing or damaged."""
    require_pydicom()
    from pydicom import dcmread

    with suppress_dicom_warnings():
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=[keyword], force=True)
        except Exception:  # pydicom raises errors of many types for damaged data
            return ""
        return str(attribute(header, keyword) or "").strip()
