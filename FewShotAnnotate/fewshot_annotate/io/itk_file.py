"""Reading of image files with ITK, working around its limitations.

ITK aborts the process on a file name that is not Unicode, chooses the format by a case-sensitive suffix, and prints
errors to stderr in addition to raising them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import SimpleITK as sitk

from ..core.temporary import TemporaryFolder


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
