"""Comparison of the patient of a DICOM segmentation with that of the images it is used for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...core import paths
from ...core.errors import Message
from .attributes import SEGMENTATIONS, attribute, require_pydicom, suppress_dicom_warnings
from .folder import is_dicom
from .object_kind import find_segmentation, storage_class


def patient_note(labels: Path, image: Path, name: object) -> Message | None:
    """Message if the segmentation `labels` states another Patient ID than the images; None if it cannot be compared.

    Parameters
    ----------
    labels : Path
        File or folder of the labels, in any format.
    image : Path
        File or folder of the images, in any format.
    name : object
        Denotes the segmentation in the message.
    """
    segmentation = find_segmentation(labels)
    source = _first_image(image) if segmentation is not None else None
    if segmentation is None or source is None:
        return None
    patient, expected = _patient_id(segmentation), _patient_id(source)
    return Message("labels_of_another_patient", path=name) if patient and expected and patient != expected else None


def _first_image(path: Path) -> Path | None:
    """A DICOM file of a series: the file itself, or the first one in a folder that is no segmentation."""
    files = _files(path) if paths.is_folder(path) else iter([path])
    return next((file for file in files if is_dicom(file) and storage_class(file) not in SEGMENTATIONS), None)


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def _patient_id(path: Path) -> str:
    """Patient ID; empty if it is missing or damaged."""
    require_pydicom()
    from pydicom import dcmread

    with suppress_dicom_warnings():
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"], force=True)
        except Exception:  # pydicom raises errors of many types for damaged data
            return ""
        return str(attribute(header, "PatientID") or "").strip()
