"""Derivation of a DICOM series from a volume of another format, so that a segmentation can refer to it.

It contains only the patient data that the user gave. One uncompressed file per slice along k: CT Image, MR Image or
Secondary Capture Image Storage (PS3.3 A.3, A.4, A.8).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .algorithm import PRODUCT
from .request import Derivation, Modality

if TYPE_CHECKING:
    from pydicom import Dataset

_SOP_CLASSES = {
    Modality.CT: "1.2.840.10008.5.1.4.1.1.2",
    Modality.MR: "1.2.840.10008.5.1.4.1.1.4",
    Modality.OTHER: "1.2.840.10008.5.1.4.1.1.7",
}
# Attributes that each SOP class requires beyond geometry and pixels; the acquisition is unknown.
_OF_MODALITY: Mapping[Modality, Mapping[str, Any]] = {
    Modality.CT: {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "KVP": None, "AcquisitionNumber": None},
    Modality.MR: {
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "",
        "EchoTime": None,
        "EchoTrainLength": None,
        "RepetitionTime": None,
    },
    Modality.OTHER: {"ImageType": ["DERIVED", "SECONDARY"], "ConversionType": "WSD"},
}


def write_series(folder: Path, derivation: Derivation, software_version: str) -> None:
    """Write the slices of the volume as a new study into an empty folder.

    Values that do not fit into 16-bit integers are scaled, with Rescale Slope and Rescale Intercept set accordingly.

    Raises
    ------
    OSError
        The files cannot be written.
    """
    from pydicom.uid import generate_uid

    stored, slope, intercept = _as_stored(derivation.volume.array)
    common = _common(derivation, software_version, stored, slope, intercept)
    geometry = derivation.volume.geometry
    step = geometry.direction_matrix[:, 2] * geometry.spacing[2]
    digits = len(str(len(stored)))
    for number, pixels in enumerate(stored):
        dataset = deepcopy(common)
        dataset.SOPInstanceUID = generate_uid(prefix=None)
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient = [_decimal(value) for value in np.array(geometry.origin) + number * step]
        dataset.PixelData = pixels.tobytes()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / f"{number + 1:0{digits}}.dcm", enforce_file_format=True)


def _common(
    derivation: Derivation, software_version: str, stored: np.ndarray, slope: float, intercept: float
) -> Dataset:
    """Attributes that are the same for all slices."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    geometry, modality = derivation.volume.geometry, derivation.modality
    direction = geometry.direction_matrix
    dataset = Dataset()
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": _SOP_CLASSES[modality],
        "Modality": str(modality),
        "PatientName": derivation.patient_name or "Anonymous^",
        "PatientID": derivation.patient_id or f"FSA-{uuid.uuid4().hex[:12]}",
        **dict.fromkeys(("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"), ""),
        **dict.fromkeys(("StudyID", "ReferringPhysicianName", "PositionReferenceIndicator"), ""),
        **dict.fromkeys(("PatientOrientation", "PatientPosition", "Laterality"), ""),
        **{name: generate_uid(prefix=None) for name in ("StudyInstanceUID", "SeriesInstanceUID")},
        "FrameOfReferenceUID": generate_uid(prefix=None),
        "SeriesNumber": 1,
        "SeriesDescription": "Derived from an image file",
        "Manufacturer": PRODUCT,
        "SoftwareVersions": software_version,
        "ImageOrientationPatient": [_decimal(value) for value in direction[:, :2].T.reshape(-1)],
        "PixelSpacing": [_decimal(geometry.spacing[1]), _decimal(geometry.spacing[0])],
        "SliceThickness": _decimal(geometry.spacing[2]),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[1],
        "Columns": stored.shape[2],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        **_OF_MODALITY[modality],
    }
    if modality is not Modality.MR or (slope, intercept) != (1.0, 0.0):  # not in the MR object unless needed
        kind = "HU" if modality is Modality.CT else "US"
        values |= {
            "RescaleIntercept": _decimal(intercept),
            "RescaleSlope": _decimal(slope),
            "RescaleType": kind,
        }
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _as_stored(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """16-bit little-endian values, slope and intercept: value = slope * stored + intercept."""
    least, most = float(array.min()), float(array.max())
    is_integer = array.dtype.kind in "iub" or bool((array == np.rint(array)).all())
    if is_integer and least >= 0 and most <= 65535:
        return array.astype("<u2"), 1.0, 0.0
    if is_integer and least >= -32768 and most <= 32767:
        return array.astype("<i2"), 1.0, 0.0
    slope = (most - least) / 65535
    return np.rint((array.astype(float) - least) / slope).astype("<u2"), slope, least


def _decimal(value: float) -> str:
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))
