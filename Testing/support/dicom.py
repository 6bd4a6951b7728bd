"""Real DICOM for tests: headers of a crop of the real series, its labels, and validators of the files we write."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from pydicom import Dataset, dcmread

from support.data import REPOSITORY_CASES, load_case

CASE = "dicom_ct"
_PACKAGES = {"dciodvfy": "dicom3tools", "Orthanc": "orthanc", "dcmsend": "dcmtk", "findscu": "dcmtk"}
# The crop has six structures; its number of pixels is no multiple of 8, so that frames of bits begin within a byte.
ROWS, COLUMNS, COUNT = slice(60, 115), slice(55, 128), 9


def series_folder() -> Path:
    """The real series, compressed with JPEG 2000."""
    return REPOSITORY_CASES / CASE / "series"


@cache
def _headers() -> tuple[Dataset, ...]:
    """Headers of the first slices, in spatial order."""
    found = [dcmread(path, stop_before_pixels=True) for path in sorted(series_folder().iterdir())]
    return tuple(sorted(found, key=lambda header: header.ImagePositionPatient[2])[:COUNT])


def write_cropped_headers(
    folder: Path, change: Callable[[Dataset, int], None] = lambda header, slice_index: None
) -> Path:
    """Write the headers of the crop, file names in another order than the slices; returns the folder.

    Parameters
    ----------
    change : function
        `change(header, slice_index)` may move, rotate or damage a slice before it is written.
    """
    folder.mkdir(exist_ok=True)
    for index, original in enumerate(_headers()):
        header = deepcopy(original)
        header.Rows, header.Columns = ROWS.stop - ROWS.start, COLUMNS.stop - COLUMNS.start
        x, y, z = original.ImagePositionPatient
        spacing = original.PixelSpacing
        header.ImagePositionPatient = [x + COLUMNS.start * spacing[1], y + ROWS.start * spacing[0], z]
        change(header, index)
        header.save_as(folder / f"{(index * 5 + 3) % COUNT:02}.dcm", enforce_file_format=True)
    return folder


def cropped_labels() -> LabelMap:
    """The real labels of the crop, with the names of their structures."""
    _, whole = load_case(CASE)
    box = (slice(0, COUNT), ROWS, COLUMNS)
    array = np.ascontiguousarray(whole.array[box])
    grid, spacing = whole.geometry, whole.geometry.spacing
    x, y, z = grid.origin
    origin = (x + COLUMNS.start * spacing[0], y + ROWS.start * spacing[1], z)
    segments = tuple(segment for segment in whole.segments if (array == segment.value).any())
    return LabelMap(array, Geometry(array.shape, spacing, origin, grid.direction), segments)


def two_layers(label_map: LabelMap) -> tuple[LabelMap, LabelMap]:
    """The label map and, overlapping it, all of its structures as one."""
    whole = (label_map.array != 0).astype(np.uint8)
    return label_map, LabelMap(whole, label_map.geometry, (Segment(value=1, name="abdomen", colour=(0.2, 0.4, 0.6)),))


def dcmqi_segments(path: Path, folder: Path) -> dict[str, tuple[np.ndarray, Geometry]]:
    """What dcmqi's `segimage2itkimage` reads: segment label -> mask [k, j, i] and its grid."""
    import json

    import SimpleITK as sitk

    folder.mkdir()
    program = Path(sys.executable).with_name("segimage2itkimage")
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nii"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    described = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    found = {}
    for number, group in enumerate(described["segmentAttributes"], start=1):
        image = sitk.ReadImage(str(folder / f"{number}.nii.gz"))
        array = sitk.GetArrayFromImage(image)
        for item in group:
            found[item["SegmentLabel"]] = (array == item["labelID"], Geometry.of_image(image))
    return found


def dciodvfy_errors(path: Path) -> list[str]:
    """Errors that dicom3tools' validator finds in a file."""
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    lines = (result.stdout + result.stderr).splitlines()
    assert any(not line.startswith(("Error", "Warning")) for line in lines), lines  # the object it recognised
    return [line for line in lines if line.startswith(("Error", "Abort"))]


def needs_programs(*programs: str) -> Any:
    """Skip a test where one of these programs is missing, which pip does not install; the reason says how to."""
    missing = sorted({_PACKAGES[name] for name in programs if not shutil.which(name)})
    reason = f"which need a program: apt-get install {' '.join(missing)} (Debian, Ubuntu)"
    return pytest.mark.skipif(bool(missing), reason=reason)


def names_of(segments: Sequence[Segment]) -> list[str]:
    """Names in order."""
    return [segment.name for segment in segments]
