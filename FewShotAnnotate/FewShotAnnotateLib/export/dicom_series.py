"""The DICOM series that a segmentation belongs to: its headers in spatial order and its grid. No pixel is decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import paths
from ..core.dicom_stack import SlicePlace, Stack, missing_words, stack_slices
from ..core.errors import InputError
from ..core.volume import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

# What must be there and the same in all slices of a series that a segmentation can refer to.
_SHARED = ("StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "Rows", "Columns", "PixelSpacing")
# Type 2 attributes of patient and study: present but possibly empty. Sloppy writers leave them out.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_NO_IMAGES = ("SEG", "PR", "RTDOSE")  # objects about images that lie beside them
_SPACING_TOLERANCE = 1e-4


@dataclass(frozen=True)
class DicomSeries:
    """A series of single-frame images.

    Attributes
    ----------
    path : Path
        Its folder.
    headers : tuple of pydicom.Dataset
        One for each slice that is there, in spatial order, without pixel data.
    places : tuple of int
        Slice number k of each header on the grid.
    geometry : Geometry
        The grid with its missing slices; with a tilted gantry k is not perpendicular to i and j.
    tilt : float
        Gantry tilt in degrees.
    missing : str
        Where slices are missing, in words; empty if none is.
    """

    path: Path
    headers: tuple[Dataset, ...]
    places: tuple[int, ...]
    geometry: Geometry
    tilt: float
    missing: str

    @property
    def positions(self) -> np.ndarray:
        """Centres of the first pixels in mm, LPS, shape [len(headers), 3]."""
        return np.array([header.ImagePositionPatient for header in self.headers], dtype=float)


def require_packages() -> None:
    """Raise `InputError` if the packages for DICOM are not installed."""
    for package in ("pydicom", "highdicom"):
        if find_spec(package) is None:
            raise InputError("dicom_packages_missing", package=package)


def read_series(folder: str | Path, series: str | None = None) -> DicomSeries:
    """The image series of a folder. Other objects in it, such as segmentations or reports, are left alone.

    Parameters
    ----------
    folder : path
    series : str, optional
        Series Instance UID, where the folder holds several.

    Raises
    ------
    InputError
        No folder, none or several series, slices that differ in size, are not parallel, doubled or unevenly spaced.
    """
    folder = Path(folder)
    if not S_ISDIR(paths.require_there(folder).st_mode):
        raise InputError("series_is_file", path=folder)
    return read_series_files(filter(paths.is_file, paths.entries(folder)), folder, series)


def read_series_files(files: Iterable[Path], path: Path, series: str | None = None) -> DicomSeries:
    """As `read_series`, of these files; `path` names them in errors."""
    require_packages()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of values that are nearly as they should be
        headers = _read_headers(files, path)
    found = sorted({str(header.SeriesInstanceUID) for header in headers})
    if series is not None:
        if series not in found:
            raise InputError("series_unknown", path=path, series=series, known=", ".join(found) or "none")
        headers = [header for header in headers if header.SeriesInstanceUID == series]
    elif len(found) > 1:
        raise InputError("many_series", path=path, count=len(found))
    _require_alike(headers, path)
    slices = [_slice_place(header) for header in headers]
    stack = stack_slices(slices, path)
    ordered = tuple(headers[number] for number in stack.order)
    missing = missing_words(stack, slices)
    return DicomSeries(path, ordered, stack.places, _geometry(ordered[0], stack), stack.tilt, missing)


def file_name(header: Any) -> str:
    """Name of the file that a header was read from."""
    return Path(str(header.filename)).name


def _read_headers(files: Iterable[Path], path: Path) -> list[Any]:
    """Headers of the images among the files.

    Raises
    ------
    InputError
        There is none, or one that is not a single slice with a place in the patient.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import UID

    found, placeless = [], 0
    for file in files:
        try:
            header = dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        except (OSError, EOFError, ValueError, AttributeError, NotImplementedError):
            raise InputError("file_unreadable", path=file, detail="the slice is damaged") from None
        if "Rows" not in header or "SeriesInstanceUID" not in header:
            if header.file_meta.get("MediaStorageSOPClassUID", UID("")).name.endswith("Image Storage"):
                raise InputError("file_truncated", path=file, detail="its header is incomplete")
            continue
        if header.get("Modality") in _NO_IMAGES:
            continue
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise InputError("series_multiframe", path=path, first=file.name)
        position, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
        if len(position or ()) != 3 or len(orientation or ()) != 6:
            placeless += 1
            continue
        found.append(header)
    if not found:
        raise InputError("series_no_place" if placeless else "no_series", path=path)
    return found


def _require_alike(headers: list[Any], path: Path) -> None:
    if len(headers) < 2:
        raise InputError("series_one_slice", path=path)
    for header in headers:
        for name in _SHARED:
            value, first = header.get(name), headers[0].get(name)
            if value is None or value == "":
                raise InputError("series_frames", path=path, first=file_name(header), what=name)
            same = (
                np.allclose(np.array(value, float), np.array(first, float), rtol=0, atol=_SPACING_TOLERANCE)
                if name == "PixelSpacing"
                else value == first
            )
            if not same:
                raise InputError("series_sizes", path=path, what=name, first=file_name(header))
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")


def _slice_place(header: Any) -> SlicePlace:
    x, y, z = (float(value) for value in header.ImagePositionPatient)
    numbers = [float(value) for value in header.ImageOrientationPatient]
    return SlicePlace(
        file_name(header), (x, y, z), (numbers[0], numbers[1], numbers[2]), (numbers[3], numbers[4], numbers[5])
    )


def _geometry(first: Any, stack: Stack) -> Geometry:
    row_spacing, column_spacing = (float(value) for value in first.PixelSpacing)
    gap = float(np.linalg.norm(stack.step))
    row, column = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    direction = np.stack([row, column, stack.step / gap], axis=1)
    x, y, z = (float(value) for value in first.ImagePositionPatient)
    return Geometry(
        (stack.count, int(first.Rows), int(first.Columns)),
        (column_spacing, row_spacing, gap),
        (x, y, z),
        tuple(float(value) for value in direction.reshape(-1)),
    )
