"""Image files through ITK, whatever they are called, and whether one holds what was written.

ITK ends the whole program at a name that is not Unicode, chooses a format by the case of its suffix, prints to stderr
what it also raises, and does not notice that a disk is full.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .temporary import TemporaryFolder

_BLOCK_BYTES = 1 << 20


def read_itk(path: Path, suffix: str = "") -> sitk.Image:
    """An image file as ITK reads it.

    Parameters
    ----------
    path : Path
    suffix : str
        The one that says its format, in lower case.

    Raises
    ------
    RuntimeError
        ITK cannot read it.
    OSError
    """
    with itk_name(path, suffix) as name, silent_stderr():
        return sitk.ReadImage(name)


def write_itk(image: sitk.Image, path: Path, compress: bool) -> None:
    """Write an image file; see `holds` for whether it arrived.

    Raises
    ------
    OSError
        ITK cannot write it.
    """
    try:
        with itk_name(path) as name, silent_stderr():
            sitk.WriteImage(image, name, useCompression=compress)
    except RuntimeError:
        raise OSError from None
    if path.name.endswith(".seg.nrrd") and image.GetNumberOfComponentsPerPixel() > 1:
        _declare_list(path)


def _declare_list(path: Path) -> None:
    """Say in a NRRD header that values of a voxel are a list, as layers of segments are; ITK calls all a vector.

    The header keeps its length, so that the voxels stay where they are.
    """
    vector, a_list = b"\nkinds: vector domain domain domain\n", b"\nkinds: list domain domain domain\n#\n"
    with path.open("r+b") as file:
        place = file.read(_BLOCK_BYTES).find(vector)
        if place >= 0:
            file.seek(place)
            file.write(a_list)


def holds(path: Path, image: sitk.Image) -> bool:
    """Whether a file that was just written holds all voxels of an image, to its last byte."""
    expected = _voxel_bytes(image)
    try:
        if not _is_complete(path, expected.size):
            return False
        found = read_itk(path)
        return np.array_equal(_voxel_bytes(found), expected)
    except (RuntimeError, EOFError, zlib.error, gzip.BadGzipFile):
        return False


def _voxel_bytes(image: sitk.Image) -> np.ndarray:
    """Voxels as they lie in memory, so that what is no number equals itself. Valid as long as the image lives."""
    array: np.ndarray = np.ascontiguousarray(sitk.GetArrayViewFromImage(image)).reshape(-1)
    return array.view(np.uint8)


def _is_complete(path: Path, size: int) -> bool:
    """Whether a file has room for so many bytes of voxels, and compressed ones end with their checksum.

    ITK takes missing bytes for zeros and does not look at the checksum. Only of .mha does it check the size.
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
    """A name of a file or folder that ITK can use for the time of the block.

    Parameters
    ----------
    path : Path
    suffix : str
        The one that says the file's format, in lower case, if the path has it in any case.

    Raises
    ------
    OSError
    """
    usable = _is_unicode(path.name) and path.name.endswith(suffix)
    if usable and _is_unicode(str(path)):
        yield str(path)
        return
    with TemporaryFolder() as folder:
        if not _is_unicode(str(folder)):
            raise OSError(errno.EILSEQ, "the folder for temporary files has a name that is not Unicode", str(folder))
        alias = folder / "alias"
        if usable:  # so that files which this one names are found beside it
            alias.symlink_to(path.parent.absolute(), target_is_directory=True)
            yield str(alias / path.name)
            return
        alias = folder / f"alias{suffix}"
        try:
            alias.symlink_to(path.absolute(), target_is_directory=path.is_dir())
        except OSError:  # Windows allows links to some users only
            shutil.copyfile(path, alias)
        yield str(alias)


def _is_unicode(text: str) -> bool:
    """Whether a name can be handed to a library as UTF-8 and means the same file there."""
    try:
        return text.encode("utf-8") == os.fsencode(text) or sys.platform == "win32"
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Image libraries written in C print to the process's stderr what they then also raise."""
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
