"""Images whose header names other files or has a wrong geometry: read correctly, or refused in one line."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.io.files import read_layers, read_volume

pytestmark = pytest.mark.timeout(20)  # a pipe or endless device that is read would block
VOXELS = np.arange(240, dtype=np.uint8).reshape(4, 6, 10)
METAIMAGE = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 10 6 4\nElementType = MET_UCHAR\n"
NRRD = "NRRD0005\ntype: uchar\ndimension: 3\nsizes: 10 6 4\n"


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    for number, plane in enumerate(VOXELS, 1):
        (tmp_path / f"s{number:02}.raw").write_bytes(plane.tobytes())
    return tmp_path


def write_file(folder: Path, name: str, header: str, data: bytes = b"") -> Path:
    path = folder / name
    path.write_bytes(header.encode("utf-8", "surrogateescape") + data)
    return path


SEVERAL = {
    "numbered.mha": f"{METAIMAGE}ElementDataFile = s%02d.raw 1 4 1\n",
    "list.mha": f"{METAIMAGE}ElementDataFile = LIST\ns01.raw\ns02.raw\ns03.raw\ns04.raw\n",
    "list2.mha": f"{METAIMAGE}ElementDataFile = LIST 2D\ns01.raw\ns02.raw\ns03.raw\ns04.raw\nmore\n",
    "numbered.nhdr": f"{NRRD}encoding: raw\ndata file: s%02d.raw 1 4 1\n\n",
    "list.nhdr": f"{NRRD}encoding: raw\ndata file: LIST\ns01.raw\ns02.raw\ns03.raw\ns04.raw\n",
}


@pytest.mark.parametrize("name", SEVERAL)
def test_voxels_in_several_files_are_read(name: str, slices: Path) -> None:
    assert np.array_equal(read_volume(write_file(slices, name, SEVERAL[name])).array, VOXELS)


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("damage", ["pipe", "missing", "folder", "short"])
def test_files_that_a_header_names_are_checked_before_they_are_read(damage: str, name: str, slices: Path) -> None:
    third = slices / "s03.raw"
    third.unlink()
    {"pipe": lambda: os.mkfifo(third), "folder": third.mkdir, "missing": lambda: None}.get(
        damage, lambda: third.write_bytes(b"short")
    )()
    with pytest.raises(InputError) as refused:
        read_layers(write_file(slices, name, SEVERAL[name]))
    assert refused.value.code == ("file_truncated" if damage == "short" else "partner_missing")


@pytest.mark.parametrize(
    "text",
    [
        "LIST",
        "LIST 9",
        "LIST -1",
        f"LIST {'9' * 5000}",
        "s%02d.raw 1 3 1",
        "s%02d.raw 1 4 0",
        "s%02d.raw 4 1 1",
        "s%02d.raw 1 99999999999 1",
        "s%0999999999d.raw 1 4 1",
        "%s%n 1 4 1",
        "s%%d.raw 1 4 1",
        "%d%d 1 4 1",
        "s%02d.raw",
        "x" * 400,
        "word " * 20_000,
        "a\0b",
        ".",
        "loop",
        "pipe",
        "/dev/zero",
        "\udcff\udcfe",
    ],
)
@pytest.mark.parametrize("kind", ["mha", "nhdr"])
def test_impossible_names_of_data_files_are_refused(kind: str, text: str, slices: Path) -> None:
    (slices / "loop").symlink_to("loop")
    os.mkfifo(slices / "pipe")
    header = (
        f"{METAIMAGE}ElementDataFile = {text}\n" if kind == "mha" else f"{NRRD}encoding: raw\ndata file: {text}\n\n"
    )
    with pytest.raises(InputError) as error:
        read_layers(write_file(slices, f"image.{kind}", header))
    assert len(str(error.value)) < 300 + len(str(slices))


@pytest.mark.parametrize(
    "field",
    [
        "byte skip: abc",
        f"byte skip: {'9' * 5000}",
        f"byte skip: {'9' * 30}",
        "line skip: x",
        "line skip: 1.5",
        "space directions: (1e308,0,0) (0,1,0) (0,0,1)",
        "spacings: inf 1 1",
        "spacings: 1e300 1 1",
    ],
)
def test_a_nrrd_header_with_impossible_numbers_is_refused(field: str, tmp_path: Path) -> None:
    space = "space: left-posterior-superior\n" if "directions" in field else ""
    with pytest.raises(InputError):
        read_layers(
            write_file(
                tmp_path,
                "a.nrrd",
                f"{NRRD}{space}{field}\nencoding: raw\n\n",
                VOXELS.tobytes(),
            )
        )


@pytest.mark.parametrize("field", ["line skip: 1\nencoding: raw", "encoding: ascii", "encoding: hex"])
def test_a_nrrd_header_without_end_is_not_read_completely(field: str, tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.nrrd", f"{NRRD}{field}\n\n")
    os.truncate(path, 1 << 40)
    with pytest.raises(InputError):
        read_layers(path)


def with_offset(folder: Path, offset: float) -> Path:
    path = folder / "a.nii"
    nibabel.save(nibabel.Nifti1Image(VOXELS.T, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, offset)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("offset", [-1e30, -1.0, 0.0, 1.0, 347.0, float("nan"), float("inf"), 1e30])
def test_an_invalid_nifti_offset_is_refused(offset: float, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_volume(with_offset(tmp_path, offset))
