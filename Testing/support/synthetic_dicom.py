"""Small DICOM series and label maps computed from a formula, for tests that need no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, to_image
from pydicom import FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

# Rows times columns is no multiple of 8, so that frames of one bit per pixel begin within a byte.
GRID = Geometry((6, 7, 9), (0.75, 1.25, 2.5), (-11.5, 23.25, -40.0))


def write_ct_series(folder: Path, grid: Geometry = GRID, array: np.ndarray | None = None) -> Path:
    """Write a CT series, one file per slice, file names against the spatial order; returns its folder."""
    folder.mkdir()
    values = np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape) if array is None else array
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    image = to_image(np.zeros(grid.shape, np.uint8), grid)
    direction = np.array(grid.direction).reshape(3, 3)
    for index, pixels in enumerate(values):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        path = folder / f"{len(values) - index:03}.dcm"
        slice_ = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
        slice_.PatientName, slice_.PatientID, slice_.Modality = "Made^By Hand", "0815", "CT"
        slice_.PatientBirthDate = slice_.PatientSex = slice_.AccessionNumber = slice_.StudyID = ""
        slice_.StudyDate = slice_.StudyTime = slice_.ReferringPhysicianName = slice_.PositionReferenceIndicator = ""
        slice_.SeriesNumber, slice_.InstanceNumber = 3, index + 1
        slice_.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.ImagePositionPatient = [round(part, 9) for part in image.TransformIndexToPhysicalPoint((0, 0, index))]
        slice_.ImageOrientationPatient = [round(float(part), 9) for part in direction[:, :2].T.reshape(-1)]
        slice_.PixelSpacing, slice_.SliceThickness = [grid.spacing[1], grid.spacing[0]], grid.spacing[2]
        slice_.Rows, slice_.Columns = pixels.shape
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.RescaleIntercept, slice_.RescaleSlope = 0, 1
        slice_.PixelData = pixels.astype("<i2").tobytes()
        slice_.save_as(path, enforce_file_format=True)
    return folder


def random_labels(count: int, slices: slice = slice(None), grid: Geometry = GRID, seed: int = 0) -> LabelMap:
    """A label map with `count` segments, each voxel of the slices labelled at random; every segment has voxels."""
    shape = np.zeros(grid.shape)[slices].shape
    values = np.random.default_rng(seed).integers(0, count + 1, shape)
    values.reshape(-1)[:count] = np.arange(1, count + 1)  # each label occurs
    array = np.zeros(grid.shape, dtype=np.uint8 if count <= 255 else np.uint16)
    array[slices] = values
    segments = tuple(
        Segment(value=value, name=f"Structure {value}", colour=(value % 7 / 6, value % 5 / 4, value % 3 / 2))
        for value in range(1, count + 1)
    )
    return LabelMap(array, grid, segments)
