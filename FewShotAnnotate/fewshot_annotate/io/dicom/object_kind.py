"""Kind of a DICOM file, from its SOP class: image, segmentation or neither."""

from __future__ import annotations

from pathlib import Path

from ...core import paths
from ...core.errors import InputError, Message
from .attributes import DOSE, SEGMENTATIONS, suppress_dicom_warnings
from .folder import is_dicom

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
# Descriptions of storage classes that are neither images nor labels, by the beginning of the UID.
_OTHERS = {
    "1.2.840.10008.5.1.4.1.1.481.2": "dose map (RTDOSE)",
    "1.2.840.10008.5.1.4.1.1.481.": "radiotherapy object",
    "1.2.840.10008.5.1.4.1.1.66.1": "spatial registration",
    "1.2.840.10008.5.1.4.1.1.66.3": "deformable registration",
    "1.2.840.10008.5.1.4.1.1.66.5": "surface segmentation",
    "1.2.840.10008.5.1.4.1.1.66": "raw data object",
    "1.2.840.10008.5.1.4.1.1.11.": "presentation state",
    "1.2.840.10008.5.1.4.1.1.88.": "structured report",
    "1.2.840.10008.5.1.4.1.1.104.": "document",
    "1.2.840.10008.5.1.4.1.1.9.": "waveform",
    "1.2.840.10008.1.3.10": "directory (DICOMDIR)",
}
# In the file meta information, which is explicit little endian: element (0002,0002), VR UI, length.
_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"
_CLASS_TAG = 0x00080016
_HEAD_BYTES = 4096


def storage_class(path: Path) -> str:
    """SOP Class UID of a DICOM file; empty for any other file, and for one that cannot be read."""
    if not is_dicom(path):
        return ""
    return _class_of_data(path) or _class_of_head(path)


def _class_of_head(path: Path) -> str:
    """SOP Class UID from the file meta information, for Slicer's Python without pydicom."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    position = head.find(_CLASS_ELEMENT)
    if position < 0:
        return ""
    start = position + len(_CLASS_ELEMENT) + 2
    length = int.from_bytes(head[start - 2 : start], "little")
    return head[start : start + length].rstrip(b"\0 ").decode("ascii", "replace")


def _class_of_data(path: Path) -> str:
    """SOP Class UID from the data set, which readers of the file use."""
    try:
        from pydicom.filereader import read_partial
    except ImportError:
        return ""
    try:
        with suppress_dicom_warnings(), path.open("rb") as file:
            header = read_partial(file, lambda tag, *_: tag > _CLASS_TAG, force=True, specific_tags=[_CLASS_TAG])
            return str(header.get("SOPClassUID") or "")
    except Exception:  # pydicom raises errors of many types for damaged data
        return ""


def require_image(path: Path) -> None:
    """Check that a DICOM file is an image; files of other formats pass.

    Raises
    ------
    InputError
        It is another kind of DICOM object, which the message names.
    """
    class_uid = storage_class(path)
    if class_uid in SEGMENTATIONS:
        raise InputError("segmentation_as_image", path=path)
    if class_uid == _STRUCTURE_SET:
        raise InputError("not_an_image", path=path, kind=Message("kind_structure_set"))
    kind = _other_kind(class_uid)
    if kind and class_uid != DOSE:  # a dose map is made of voxels
        raise InputError("not_an_image", path=path, kind=kind)


def find_segmentation(path: Path) -> Path | None:
    """The DICOM segmentation that labels are to be read from: the file itself, or the only one directly in a folder.

    Folders within a folder are not searched: what lies there may belong to other images.

    Returns
    -------
    Path or None
        None if `path` is a file of another format.

    Raises
    ------
    InputError
        It is a DICOM file without labels, such as a structure set, or a folder without a segmentation or with
        several.
    """
    if not paths.is_folder(path):
        _require_labels(path, storage_class(path))
        return path if storage_class(path) in SEGMENTATIONS else None
    classes = {file: class_uid for file in paths.entries(path) if (class_uid := storage_class(file))}
    segmentations = sorted(file for file, class_uid in classes.items() if class_uid in SEGMENTATIONS)
    if len(segmentations) > 1:
        names = ", ".join(file.name for file in segmentations[:4])
        raise InputError("many_segmentations", path=path, count=len(segmentations), names=names)
    if segmentations:
        return segmentations[0]
    for file, class_uid in classes.items():
        if class_uid == _STRUCTURE_SET:
            _require_labels(file, class_uid)
    raise InputError("no_segmentation", path=path)


def _require_labels(path: Path, class_uid: str) -> None:
    if class_uid == _STRUCTURE_SET:
        raise InputError("structure_set", path=path)
    kind = _other_kind(class_uid)
    if kind:
        raise InputError("no_labels_in_dicom", path=path, kind=kind)


def _other_kind(class_uid: str) -> str:
    if class_uid in SEGMENTATIONS:
        return ""
    return next((kind for beginning, kind in _OTHERS.items() if class_uid.startswith(beginning)), "")
