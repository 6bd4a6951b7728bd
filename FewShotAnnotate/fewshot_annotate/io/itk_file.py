"""Reading and writing of image files with ITK, working around its limitations.

ITK aborts the process on a file name that is not Unicode, chooses the format by a case-sensitive suffix, prints
errors to stderr in addition to raising them, and does not notice that a disk is full.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.temporary import TemporaryFolder

_BLOCK_BYTES = 1 << 20


def read_itk(path: Path, suffix: str = "") -> sitk.Image:
    """Read an image file with ITK.

    Parameters
    ----------
    path : Path
    suffix : str
        Suffix of its format, in lower case.

    Raises
    ------
    RuntimeError
        ITK cannot read it.
    OSError
    """
    with itk_name(path, suffix) as name, suppress_stderr():
        return sitk.ReadImage(name)


def write_itk(image: sitk.Image, path: Path, compress: bool) -> None:
    """Write an image file; use `has_same_voxels` to verify it.

    Raises
    ------
    OSError
        ITK cannot write it.
    """
    try:
        with itk_name(path) as name, suppress_stderr():
            sitk.WriteImage(image, name, useCompression=compress)
    except RuntimeError:
        raise OSError from None
    if path.name.endswith(".seg.nrrd") and image.GetNumberOfComponentsPerPixel() > 1:
        _declare_list_axis(path)


def _declare_list_axis(path: Path) -> None:
    """Change the kind of the first axis in a NRRD header from vector to list, as required for layers of segments.

    ITK always writes vector. The header keeps its length, so the voxels need not be moved.
    """
    vector, a_list = b"\nkinds: vector domain domain domain\n", b"\nkinds: list domain domain domain\n#\n"
    with path.open("r+b") as file:
        start = file.read(_BLOCK_BYTES).find(vector)
        if start >= 0:
            file.seek(start)
            file.write(a_list)


def has_same_voxels(path: Path, image: sitk.Image) -> bool:
    """Whether a file holds exactly the voxels of an image and is complete."""
    expected = _voxel_bytes(image)
    try:
        if not _is_complete(path, expected.size):
            return False
        found = read_itk(path)
        return np.array_equal(_voxel_bytes(found), expected)
    except (RuntimeError, EOFError, zlib.error, gzip.BadGzipFile):
        return False


def _voxel_bytes(image: sitk.Image) -> np.ndarray:
    """Memory of the voxels, in which NaN equals itself. Valid as long as the image exists."""
    array: np.ndarray = np.ascontiguousarray(sitk.GetArrayViewFromImage(image)).reshape(-1)
    return array.view(np.uint8)


def _is_complete(path: Path, size: int) -> bool:
    """Whether a file holds at least `size` bytes of voxels, with a valid checksum if compressed.

    ITK reads missing bytes as zeros and ignores the checksum. It checks the size of .mha files only.
    """
    if path.name.endswith(".mha"):
        return True
    with path.open("rb") as file:
        if path.name.endswith(".nrrd"):
            while file.readline().strip():  # the header, which an empty line ends
                pass
        data = gzip.GzipFile(fileobj=file) if path.name.endswith((".nrrd", ".gz")) else file
        return sum(len(block) for block in iter(lambda: data.read(_BLOCK_BYTES), b"")) >= size


@contextlib.contextmanager
def itk_name(path: Path, suffix: str = "") -> Iterator[str]:
    """Context manager: a name of a file or folder that ITK can use within the block.

    Parameters
    ----------
    path : Path
    suffix : str
        Suffix of the file's format, in lower case; empty to keep that of the path.

    Raises
    ------
    OSError
    """
    usable = _is_unicode(path.name) and path.name.endswith(suffix)
    if usable and _is_unicode(str(path)):
        yield str(path)
        return
    with TemporaryFolder() as folder:
        alias = folder / "alias"
        if usable:  # link the folder, so that data files beside this one are found
            alias.symlink_to(path.parent.absolute(), target_is_directory=True)
            yield str(alias / path.name)
            return
        alias = folder / f"alias{suffix}"
        try:
            alias.symlink_to(path.absolute(), target_is_directory=path.is_dir())
        except OSError:  # Windows allows only some users to create links
            shutil.copyfile(path, alias)
        yield str(alias)


def _is_unicode(text: str) -> bool:
    """Whether a library that expects UTF-8 finds the same file by this name."""
    try:
        return text.encode("utf-8") == os.fsencode(text) or sys.platform == "win32"
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def suppress_stderr() -> Iterator[None]:
    """Context manager: discard what image libraries in C write to stderr; they raise the same errors."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all, as in a windowed program
        yield
        return
    with open(os.devnull, "w") as sink:  # noqa: PTH123 (a descriptor is needed, not a path)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
