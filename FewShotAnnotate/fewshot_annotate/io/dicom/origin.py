"""Comparison of the patient and frame of reference of DICOM labels with those of the images they are used for."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
    segmentation = find_segmentation(labels) or (labels if is_dicom(labels) else None)
    if segmentation is None:
        return None
    if _differs("PatientID", segmentation, image):
        return Message("labels_of_another_patient", path=name)
    if _differs("FrameOfReferenceUID", segmentation, image):
        return Message("labels_of_another_frame", path=name)
    return None


def _differs(keyword: str, labels: Path, image: Path) -> bool:
    """Whether some images have an attribute that the labels have too, but none has the same value."""
    value = _value(keyword, labels)
    differs = False
    for file in _images(image) if value else ():
        other = _value(keyword, file)
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
