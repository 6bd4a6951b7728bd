"""Valid files with unusual voxels, sizes, types or compression, in place of an image or a label map."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

# Formats in which unusual voxels are written. Other formats would add no further kinds of voxels.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


def is_supported(path: Path) -> bool:
    """Whether unusual voxels can be written in the format of a file."""
    return path.name.endswith(SUFFIXES) and not path.name.endswith(".seg.nrrd")


def make_odd_voxels(random: Random, path: Path) -> str:
    """Rewrite a file with unusual voxels or storage; returns a description."""
    from nibabel.loadsave import load

    if path.name.endswith((".nii", ".nii.gz")):
        image = load(path)
        array, affine = np.asarray(image.dataobj), np.asarray(image.affine)  # type: ignore[attr-defined]
    else:
        array, affine = _read_by_itk(path)
    name = random.choice(list(_CHANGES))
    changed = _CHANGES[name](random, array)
    packing = random.choice(list(_PACKINGS)) if random.random() < 0.3 else "plain"
    if path.name.endswith((".nii", ".nii.gz")):
        content, packing = _nifti(random, changed, affine), packing if path.suffix == ".gz" else "plain"
        path.write_bytes(_PACKINGS[packing](gzip.compress(content, 1)) if path.suffix == ".gz" else content)
        return f"{name}, {changed.dtype}{list(changed.shape)}, {packing}"
    return f"{name}, {_write_text_format(random, path, changed, affine)}"


def _read_by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag((-1, -1, 1, 1)) @ affine


def _some(random: Random, array: np.ndarray, value: float, kind: str = "f4") -> np.ndarray:
    """A copy in which some voxels have another value."""
    changed = array.astype(kind)
    changed.reshape(-1)[random.sample(range(changed.size), min(changed.size, 5))] = value
    return changed


# Names of types in NRRD and in MetaImage.
_TYPES = {
    "i1": ("int8", "MET_CHAR"),
    "u1": ("uint8", "MET_UCHAR"),
    "i2": ("int16", "MET_SHORT"),
    "u2": ("uint16", "MET_USHORT"),
    "i4": ("int32", "MET_INT"),
    "u4": ("uint32", "MET_UINT"),
    "i8": ("int64", "MET_LONG_LONG"),
    "u8": ("uint64", "MET_ULONG_LONG"),
    "f4": ("float", "MET_FLOAT"),
    "f8": ("double", "MET_DOUBLE"),
}
_CHANGES: dict[str, Callable[[Random, np.ndarray], np.ndarray]] = {
    "as it is": lambda _, array: array,
    "NaN": lambda random, array: _some(random, array, np.nan),
    "infinite": lambda random, array: _some(random, array, np.inf),
    "all NaN": lambda _, array: np.full(array.shape, np.nan, "f4"),
    "largest double": lambda random, array: _some(random, array, 1.7e308, "f8"),
    "tiny": lambda _, array: array.astype("f8") * 1e-310,
    "constant": lambda _, array: np.full_like(array, 7),
    "zero": lambda _, array: np.zeros_like(array),
    "two values": lambda _, array: (array > array.max(initial=0) / 2).astype(array.dtype),
    "fractions": lambda random, array: _some(random, array, 0.5),
    "negative": lambda _, array: -array.astype("i2"),
    "beyond 16 bits": lambda random, array: _some(random, array, 70_000, "i4"),
    "beyond 32 bits": lambda random, array: _some(random, array, 2**40, "i8"),
    "largest unsigned": lambda random, array: _some(random, array, 2**64 - 1, "u8"),
    "many values": lambda _, array: np.arange(array.size, dtype="u4").reshape(array.shape),
    "everywhere": lambda _, array: np.where(array == 0, 1, array),
    "double": lambda _, array: array.astype("f8"),
    "other type": lambda random, array: array.astype(random.choice(("i1", "u2", "i4", "u4", "i8", "u8", "f8"))),
    "big endian": lambda _, array: array.astype(">i2"),
    "complex": lambda _, array: array.astype("c8"),
    "2D": lambda _, array: array[:, :, 0],
    "one slice": lambda _, array: array[:, :, :1],
    "one row": lambda _, array: array[:, :1],
    "one voxel": lambda _, array: array[:1, :1, :1],
    "two voxels each": lambda _, array: array[:2, :2, :2],
    "cut": lambda _, array: array[1:, :-1],
    "longer": lambda _, array: np.pad(array, 2),
    "4D": lambda _, array: np.stack([array, array], axis=3),
    "4D of one": lambda _, array: array[..., None],
    "5D vector": lambda _, array: np.stack([array] * 3, axis=3)[:, :, :, None],
    "seven dimensions": lambda _, array: array.reshape(*array.shape, 1, 1, 1, 1),
    "empty": lambda _, array: array[:0],
}
_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda packed: packed,
    "packed twice": gzip.compress,
    "two members": lambda packed: b"".join(
        gzip.compress(part) for part in (gzip.decompress(packed)[:500], gzip.decompress(packed)[500:])
    ),
    "an empty member first": lambda packed: gzip.compress(b"") + packed,
    "zeros after it": lambda packed: packed + bytes(1000),
    "junk after it": lambda packed: packed + b"junk" * 50,
    "not packed": gzip.decompress,
    "as zlib": lambda packed: zlib.compress(gzip.decompress(packed)),
    "as bzip2": lambda packed: bz2.compress(gzip.decompress(packed)),
    "truncated": lambda packed: packed[:-8],
    "surplus bytes in the content": lambda packed: gzip.compress(gzip.decompress(packed) + bytes(5000)),
}  # fmt: skip


def _nifti(random: Random, array: np.ndarray, affine: np.ndarray) -> bytes:
    """NIfTI of version 1 or 2, sometimes with an intensity slope and intercept."""
    import nibabel

    kind = random.choice((nibabel.Nifti1Image, nibabel.Nifti1Image, nibabel.Nifti2Image))
    image = kind(array, affine, dtype=array.dtype)
    if random.random() < 0.2:
        image.header.set_slope_inter(random.choice((2.0, 0.5, -1.0)), random.choice((0, 1, -1024)))
    return bytes(image.to_bytes())


def _write_text_format(random: Random, path: Path, array: np.ndarray, affine: np.ndarray) -> str:
    """NRRD or MetaImage with a header of its own, sometimes with voxels in another encoding."""
    array = np.ascontiguousarray(array.T)
    code = array.dtype.str[1:]
    if code not in _TYPES:
        array, code = array.real.astype("f4"), "f4"
    big = array.dtype.byteorder == ">"
    axes = [(np.diag((-1, -1, 1, 1)) @ affine)[:3, at] for at in range(4)]
    sizes = " ".join(map(str, reversed(array.shape)))
    if path.name.endswith(".nrrd"):
        encoding, content = random.choice(list(_encodings(array)))
        vectors = [f"({','.join(map(str, axis))})" for axis in axes]
        directions = " ".join([*vectors[:3], *["none"] * 9][: array.ndim])
        lines = ["NRRD0004", f"type: {_TYPES[code][0]}", f"dimension: {array.ndim}", "space: left-posterior-superior",
                 f"sizes: {sizes}", f"space directions: {directions}", f"endian: {'big' if big else 'little'}",
                 f"encoding: {encoding}", f"space origin: {vectors[3]}", "", ""]  # fmt: skip
        path.write_bytes("\n".join(lines).encode() + content)
        return f"{array.dtype}{list(array.shape)}, {encoding}"
    spacing = [float(np.linalg.norm(axis)) for axis in axes[:3]]
    matrix = [value for axis, size in zip(axes[:3], spacing, strict=True) for value in axis / size]
    lines = ["ObjectType = Image", f"NDims = {array.ndim}", "BinaryData = True", f"BinaryDataByteOrderMSB = {big}",
             f"TransformMatrix = {' '.join(map(str, matrix))}", f"Offset = {' '.join(map(str, axes[3]))}",
             f"ElementSpacing = {' '.join(map(str, spacing))}", f"DimSize = {sizes}",
             f"ElementType = {_TYPES[code][1]}", "ElementDataFile = LOCAL", ""]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + array.tobytes())
    return f"{array.dtype}{list(array.shape)}"


def _encodings(array: np.ndarray) -> tuple[tuple[str, bytes], ...]:
    raw = array.tobytes()
    text = " ".join(map(str, array.ravel().tolist())).encode()
    return (
        ("raw", raw),
        ("gzip", gzip.compress(raw, 1)),
        ("bzip2", bz2.compress(raw)),
        ("ascii", text),
        ("hex", raw.hex().encode()),
    )
