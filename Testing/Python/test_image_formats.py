"""Image files of many formats: read, or refused with their format and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry
from fewshot_annotate.io.files import read_label_maps, read_volume, write_array
from fewshot_annotate.io.foreign_formats import describe_format
from scipy.spatial.transform import Rotation
from support.disk import largest_file
from support.refusals import refusal_of

SHAPE = (5, 6, 7)  # i, j, k
ARRAY = np.random.default_rng(3).integers(0, 300, SHAPE).astype(np.int16)


def affine() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix() @ np.diag([-1, 2, 3])
    matrix[:3, 3] = [11, -22, 33]
    return matrix


def nifti_bytes(array: np.ndarray = ARRAY, matrix: np.ndarray | None = None) -> bytes:
    return nibabel.Nifti1Image(array, affine() if matrix is None else matrix).to_bytes()


def index_to_lps(geometry: Geometry) -> np.ndarray:
    matrix = np.reshape(geometry.direction, (3, 3)) * geometry.spacing
    return np.column_stack([matrix, geometry.origin])


refusal = partial(refusal_of, read_volume)


# --- read


def write_mgz(path: Path) -> None:
    nibabel.MGHImage(ARRAY, affine()).to_filename(path.with_suffix(".mgz"))
    path.with_suffix(".mgz").rename(path)


def write_nifti2(path: Path) -> None:
    path.write_bytes(nibabel.Nifti2Image(ARRAY, affine()).to_bytes())


def write_pair(path: Path) -> None:
    nibabel.Nifti1Pair(ARRAY, affine()).to_filename(path.with_suffix(".img"))


def write_big_endian(path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    path.write_bytes(nibabel.Nifti1Image(ARRAY, affine(), header).to_bytes())


def write_with_rounded_digits(path: Path) -> None:
    path.write_bytes(nifti_bytes(matrix=affine().round(3)))


READABLE: list[tuple[str, Callable[[Path], object]]] = [
    ("a.mgz", write_mgz),
    ("no suffix", write_mgz),
    ("a.nii", write_nifti2),
    ("b.nii", write_big_endian),
    ("c.nii", write_with_rounded_digits),
    ("a.hdr", write_pair),
    ("a.img", write_pair),
    ("zipped.nii", lambda path: path.write_bytes(gzip.compress(nifti_bytes()))),
    ("plain.nii.gz", lambda path: path.write_bytes(nifti_bytes())),
    ("bzip2.nii", lambda path: path.write_bytes(bz2.compress(nifti_bytes()))),
    ("brain", lambda path: path.write_bytes(gzip.compress(nifti_bytes()))),
    ("brain.nrrd", lambda path: path.write_bytes(nifti_bytes())),
    ("UPPER.NII.GZ", lambda path: path.write_bytes(gzip.compress(nifti_bytes()))),
]


@pytest.mark.parametrize(("name", "write"), READABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_an_image_is_read_whatever_its_name(name: str, write: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / name)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, ARRAY.T)
    expected = (np.diag([-1.0, -1, 1, 1]) @ affine())[:3]
    np.testing.assert_allclose(index_to_lps(volume.geometry), expected, atol=6e-3)


def nrrd(encoding: str, data: bytes, fields: str = "") -> bytes:
    sizes = " ".join(map(str, SHAPE))
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nspacings: 1 2 3\nendian: little\n"
    return f"{header}encoding: {encoding}\n{fields}\n".encode() + data


RAW = ARRAY.T.astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("raw", RAW),
        ("gzip", gzip.compress(RAW)),
        ("gz", gzip.compress(RAW)),
        ("bzip2", bz2.compress(RAW)),
        ("ascii", " ".join(map(str, ARRAY.T.ravel())).encode()),
        ("hex", RAW.hex().encode()),
    ],
)
def test_every_encoding_of_nrrd_is_read_attached_and_detached(encoding: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(nrrd(encoding, data))
    (tmp_path / "a.nhdr").write_bytes(nrrd(encoding, b"", "data file: voxels.dat\n"))
    (tmp_path / "voxels.dat").write_bytes(data)
    for name in ("a.nrrd", "a.nhdr"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.array, ARRAY.T)
        assert volume.geometry.spacing == (1, 2, 3)


@pytest.mark.parametrize("encoding", ["ascii", "hex"])
def test_voxels_written_as_text_are_read_without_much_more_memory(encoding: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 100), dtype=np.uint8)
    text = values.tobytes().hex() if encoding == "hex" else ",".join(map(str, values.ravel()))
    header = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 100 60 40\nspacings: 1 1 1\nencoding: {encoding}\n\n"
    (tmp_path / "a.nrrd").write_text(header + text, encoding="ascii")
    read_volume(tmp_path / "a.nrrd")  # imports
    tracemalloc.start()
    try:
        volume = read_volume(tmp_path / "a.nrrd")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(volume.array, values)
    assert peak < 12 * values.size


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".vtk", ".gipl"])
@pytest.mark.parametrize("compress", [False, True])
def test_files_written_by_itk_are_read_as_by_itk(suffix: str, compress: bool, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(ARRAY.T)
    image.SetSpacing((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"), useCompression=compress)
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, ARRAY.T)
    expected = Geometry.of_image(sitk.ReadImage(str(tmp_path / f"a{suffix}")))
    assert volume.geometry.difference(expected, 0.0) is None


@pytest.mark.parametrize("codes", [(0, 1), (0, 2), (1, 1), (1, 2)])
def test_a_sheared_sform_is_replaced_by_the_qform_or_made_orthogonal(codes: tuple[int, int], tmp_path: Path) -> None:
    sheared = affine()
    sheared[0, 1] += 0.05
    image = nibabel.Nifti1Image(ARRAY, affine())
    image.header.set_qform(affine(), code=codes[0])
    image.header.set_sform(sheared, code=codes[1])
    nibabel.Nifti1Image(ARRAY, None, image.header).to_filename(tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    if codes[0]:
        itk = sitk.ReadImage(str(tmp_path / "a.nii"))
        assert volume.geometry.difference(Geometry.of_image(itk), 0.0) is None
    else:
        direction = np.reshape(volume.geometry.direction, (3, 3))
        np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(
            index_to_lps(volume.geometry), (np.diag([-1.0, -1, 1, 1]) @ sheared)[:3], atol=0.05
        )
    write_array(tmp_path / "out.nii.gz", volume.array, volume.geometry)
    written = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.affine, nibabel.load(tmp_path / "a.nii").affine)


@pytest.mark.parametrize(("slope", "intercept"), [(2.0, -1024.0), (0.001, 0.0), (0.0, 5.0), (1.0, 0.0)])
def test_slope_and_intercept_are_applied_as_nibabel_does(slope: float, intercept: float, tmp_path: Path) -> None:
    data = bytearray(nifti_bytes())
    data[112:120] = struct.pack("<ff", slope, intercept)
    (tmp_path / "a.nii").write_bytes(data)
    expected = nibabel.load(tmp_path / "a.nii").get_fdata().T
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").array, expected, rtol=1e-6)


def test_an_analyze_pair_is_read_as_by_itk_whatever_later_fields_of_nifti_hold(tmp_path: Path) -> None:
    nibabel.AnalyzeImage(ARRAY, np.diag([-1, 2, 3, 1])).to_filename(tmp_path / "a.img")
    header = bytearray((tmp_path / "a.hdr").read_bytes())
    header[38:39] = b"r"  # the field "regular", as most programs write it
    header[112:120] = struct.pack("<ff", 2, -5)  # slope and intercept of NIfTI
    header[252:256] = struct.pack("<hh", 1, 1)  # codes of qform and sform
    (tmp_path / "a.hdr").write_bytes(header)
    expected = sitk.ReadImage(str(tmp_path / "a.hdr"))
    for name in ("a.hdr", "a.img"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(expected))
        assert volume.geometry.difference(Geometry.of_image(expected), 0.0) is None


# --- refused with their format


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.nii", nifti_bytes())
    return stream.getvalue()


NAMES = ("image.nii.gz", "image.nrrd", "image")
FOREIGN = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
    (b"%PDF-1.7\n", "PDF"),
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "mnc2nii"),
    (b"CDF\x01" + bytes(100), "mnc2nii"),
    (b"MATLAB 5.0 MAT-file" + bytes(200), "MATLAB"),
    (b"\x93NUMPY\x01\x00", "NumPy"),
    (zipped(), "zip archive"),
    (b"{}", "JSON"),
    (b"Label,Name\n1,liver\n", "text file"),
    (b'<MRML version="Slicer5"></MRML>', "3D Slicer"),
    (b"# === DATA DESCRIPTION FILE ====\n#\n", "dcm2niix"),
    (b"\ntype  = string-attribute\nname  = TYPESTRING\n", "3dAFNItoNIFTI"),
    (b"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n", "Amira"),
    (b"ZISRAWFILE" + bytes(100), "Fiji"),
    (b"\xff\xff\xfecreated by somebody", "FreeSurfer"),
    (b"\x1f\x9d" + bytes(100), "gunzip"),
    (b"\x04\x22\x4d\x18" + bytes(100), "LZ4"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("content", "message"), FOREIGN)
def test_a_foreign_format_is_recognised_whatever_the_name(
    content: bytes, message: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in describe_format(tmp_path / name)


# Each file is given to ITK in a process of its own, hence under one of the names alone.
@pytest.mark.parametrize(
    ("content", "message", "name"), [(*foreign, name) for foreign, name in zip(FOREIGN, cycle(NAMES), strict=False)]
)
def test_other_files_are_refused_with_their_format(content: bytes, message: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert message in str(error)
    assert name in str(error)


@pytest.mark.parametrize("name", ["a.raw", "a.ZRAW", "a.REC", "a+orig.BRIK", "a.raw.gz"])
def test_voxels_without_their_header_are_recognised_by_the_file_name(name: str, tmp_path: Path) -> None:
    content = gzip.compress(RAW) if name.endswith(".gz") else RAW
    (tmp_path / name).write_bytes(content)
    assert "use the file with the header" in str(refusal(tmp_path / name))


def test_a_scene_bundle_of_slicer_is_recognised_by_the_file_name(tmp_path: Path) -> None:
    (tmp_path / "a.mrb").write_bytes(zipped())
    assert "3D Slicer bundle" in str(refusal(tmp_path / "a.mrb"))


@pytest.mark.parametrize("max_bytes", [0, 300, 4200])
def test_a_full_disk_is_not_mistaken_for_a_damaged_image(max_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "a.vtk"  # a format that is read in another process
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(4096 + 64, dtype=np.uint8).reshape(-1, 8, 8)), str(path))
    read_volume(path)
    with largest_file(max_bytes), pytest.raises(InputError) as error:
        read_volume(path)
    assert error.value.code == "output_unwritable"


# --- damaged: never a crash, never memory that the file does not hold


def metaimage_bytes(**changes: str) -> bytes:
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": "5 6 7",
        "ElementType": "MET_SHORT",
    }
    data_file = changes.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {text}\n" for name, text in {**fields, **changes, "ElementDataFile": data_file}.items()]
    return "".join(lines).encode() + RAW


def changed_nifti(offset: int, data: bytes) -> bytes:
    content = bytearray(nifti_bytes())
    content[offset : offset + len(data)] = data
    return bytes(content)


DAMAGED = {
    "NDims.mha": metaimage_bytes(NDims="99999999"),
    "NDims negative.mha": metaimage_bytes(NDims="-3"),
    "kind.mha": metaimage_bytes(ObjectType="Tube"),
    "size negative.mha": metaimage_bytes(DimSize="-5 6 7"),
    "size huge.mha": metaimage_bytes(DimSize="500000 600000 700000"),
    "size long.mha": metaimage_bytes(DimSize="5 6 " + "7" * 5000),
    "channels.mha": metaimage_bytes(ElementNumberOfChannels="-1"),
    "NaN.mha": metaimage_bytes(ElementSpacing="nan 1 1"),
    "infinite.mha": metaimage_bytes(Offset="inf 0 0"),
    "flat.mha": metaimage_bytes(TransformMatrix="0 0 0 0 0 0 0 0 0"),
    "ascii.nrrd": nrrd("ascii", b"1 2 three"),
    "ascii short.nrrd": nrrd("ascii", b"1 2 3"),
    "ascii large.nrrd": nrrd("ascii", b"99999999999 " * 210),
    "hex.nrrd": nrrd("hex", b"zz" * 500),
    "encoding.nrrd": nrrd("magic", RAW),
    "short.nrrd": nrrd("raw", RAW[:50]),
    "damaged.nrrd": nrrd("bzip2", b"BZh9" + bytes(50)),
    "negative.nrrd": nrrd("raw", RAW).replace(b"sizes: 5", b"sizes: -5"),
    "huge.nrrd": nrrd("gzip", gzip.compress(RAW)).replace(b"sizes: 5 6", b"sizes: 500000 600000"),
    "dimension.nrrd": nrrd("raw", RAW).replace(b"dimension: 3", b"dimension: 99999999"),
    "skip.nrrd": nrrd("raw", RAW, "byte skip: 99999999999999999999\n"),
    "lines.nrrd": nrrd("raw", RAW, "line skip: 999999999999\n"),
    "space.nrrd": nrrd("raw", RAW, "space dimension: 99999\nspace origin: (1,2,3)\n"),
    "NaN.nrrd": nrrd("raw", RAW, "space: LPS\nspace directions: (nan,0,0) (0,1,0) (0,0,1)\n"),
    "size.nii": changed_nifti(40, struct.pack("<4h", 3, -5, 6, 7)),
    "dimension.nii": changed_nifti(40, struct.pack("<h", 30)),
    "type.nii": changed_nifti(70, struct.pack("<h", 999)),
    "offset.nii": changed_nifti(108, struct.pack("<f", 1e30)),
    "NaN.nii": changed_nifti(280, struct.pack("<4f", float("nan"), 0, 0, 0)),
    "spacing.nii": changed_nifti(80, struct.pack("<3f", float("inf"), 1, 1)),
    "endless.nii": changed_nifti(280, struct.pack("<4f", 1e30, -1e38, 3e38, 0)),
    "qform NaN.nii": changed_nifti(252, struct.pack("<hh6f", 1, 0, float("nan"), 0, 0, 0, 0, 0)),
    "qform long.nii": changed_nifti(252, struct.pack("<hh6f", 1, 0, 5, 0, 0, 0, 0, 0)),
    "qform far.nii": changed_nifti(252, struct.pack("<hh6f", 1, 0, 0, 0, 0, float("inf"), 0, 0)),
    "cut.nii": nifti_bytes()[:400],
    "codes.nii": bytes(nibabel.Nifti2Image(ARRAY, affine()).to_bytes()).replace(
        struct.pack("<ii", 0, 2), struct.pack("<ii", 1 << 20, 2), 1
    ),
    "cut.mgh": nibabel.MGHImage(ARRAY, affine()).to_bytes()[:100],
    "short.mgh": nibabel.MGHImage(ARRAY, affine()).to_bytes()[:500],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_header_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name])
    assert str(tmp_path / name) in str(refusal(tmp_path / name))
    with pytest.raises(InputError):
        read_label_maps(tmp_path / name)


def test_a_compressed_file_shorter_than_its_header_states_is_refused(tmp_path: Path) -> None:
    header = changed_nifti(40, struct.pack("<4h", 3, 32767, 32767, 32767))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header))
    assert refusal(tmp_path / "a.nii.gz").code == "file_truncated"


@pytest.mark.skipif(os.name == "nt", reason="no such files on Windows")
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    for path in (tmp_path / "pipe.nii", Path("/dev/zero"), Path("/dev/null")):
        assert refusal(path).code == "file_not_regular"


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".vtk"])
def test_files_whose_names_are_not_unicode_are_read(suffix: str, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY.T), str(tmp_path / f"a{suffix}"))
    (tmp_path / f"a{suffix}").rename(folder / os.fsdecode(b"na\xefve" + suffix.encode()))
    (path,) = folder.iterdir()
    np.testing.assert_array_equal(read_volume(path).array, ARRAY.T)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(InputError):
        read_volume(path)


def test_a_header_without_its_voxels_names_the_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_bytes(metaimage_bytes(ElementDataFile="voxels.raw"))
    (tmp_path / "a.nhdr").write_bytes(nrrd("raw", b"", "data file: voxels.raw\n"))
    for name in ("a.mhd", "a.nhdr"):
        assert "voxels.raw" in str(refusal(tmp_path / name))


@pytest.mark.parametrize("offset", [30, 38, 42, 58, 78, 86])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), 3e38, -3e38])
def test_an_mgh_header_with_impossible_numbers_is_refused_without_warnings(
    offset: int, number: float, tmp_path: Path
) -> None:
    write_mgz(tmp_path / "a.mgz")
    content = bytearray(gzip.decompress((tmp_path / "a.mgz").read_bytes()))
    struct.pack_into(">f", content, offset, number)
    (tmp_path / "a.mgh").write_bytes(content)
    assert "a.mgh: " in str(refusal(tmp_path / "a.mgh"))


def test_numbers_of_nifti_2_beyond_single_precision_are_refused_without_warnings(tmp_path: Path) -> None:
    image = nibabel.Nifti2Image(ARRAY, affine())
    image.header["pixdim"][1:4] = 1e300
    image.header.set_sform(np.diag((1e300, 1, 1, 1)), 1)
    content = bytearray(image.to_bytes())
    content[104:152] = struct.pack("<6d", 1, 1e300, 1e300, 1e300, 1, 1)
    (tmp_path / "a.nii").write_bytes(content)
    assert refusal(tmp_path / "a.nii").code == "geometry_impossible"
