"""A library task as one file, to hand to someone else: a zip archive of its folder, of which nothing is trusted."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..core import paths
from ..core.errors import InputError
from ..core.storage import written
from ..core.temporary import TemporaryFolder
from .library import alone, library_folder, make_library
from .library_task import KINDS, LibraryTask, read_task
from .manifest import is_folder_name

# No task has a longer list of slices, and no archive of one a longer directory: both are read before anything else.
_MAX_LIST_BYTES = 4 << 20
# Images hardly shrink to less than a tenth. What unpacks to far more than the file is refused, unless it is small.
_MAX_RATIO = 100
_SMALL_BYTES = 64 << 20
_MAX_BYTES = 4 << 30
_HEADER_BYTES = range(64, 1025)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BLOCK = 1 << 20
_ENDINGS = (*(f"{kind}.npy" for kind in KINDS), "png")
# Torn, with a wrong checksum, encrypted, of an unknown method, or a folder.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    IsADirectoryError,
)


def export_task(task: LibraryTask, path: Path) -> None:
    """Write a task to a .zip file, whole or not at all.

    Raises
    ------
    InputError
        The file is there already, or cannot be written.
    """
    if path.suffix.lower() != ".zip":
        raise InputError("suffix_unknown", path=path, allowed=".zip")
    if paths.is_occupied(path):
        raise InputError("library_file_there", path=path)
    with written(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(task.folder / "task.json", "task.json")
        for one in task.slices:
            for kind in KINDS:
                archive.write(task.folder / f"{one.file}.{kind}.npy", f"{one.file}.{kind}.npy")
            archive.write(task.thumbnail(one), task.thumbnail(one).name)


def import_task(path: Path, name: str | None = None) -> LibraryTask:
    """Put the task of a file into the library; its pictures are made anew. Whole or not at all.

    Parameters
    ----------
    name : str, optional
        Default: the file's own.

    Raises
    ------
    InputError
        The file is missing or no task, or the name cannot be one or is taken.
    """
    name = path.stem if name is None else name
    if not is_folder_name(name):
        raise InputError("library_name", name=name)
    library = library_folder()
    try:
        make_library(library)
        with alone(library):
            if paths.is_occupied(library / name):
                raise InputError("library_taken", name=name)
            try:
                with TemporaryFolder(library) as temporary:
                    task = _unpack(path, temporary)
                    for one in task.slices:
                        task.write_thumbnail(one)
                    temporary.rename(library / name)
            except InputError as error:
                if error.code == "library_damaged":
                    raise InputError("library_file", path=path) from None
                raise
    except OSError as error:
        raise InputError("output_unwritable", path=library, detail=error.strerror or "the disk is full") from None
    return read_task(library / name)


class _Bounded(io.FileIO):
    """A file of which no more than a directory is read at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > _MAX_LIST_BYTES:
            raise zipfile.BadZipFile("the directory is too long")
        return super().read(size) or b""


def _unpack(path: Path, folder: Path) -> LibraryTask:
    """The task in an archive, its files put into an empty folder; nothing is unpacked that it does not list."""
    paths.require_file(path)
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if len(members) < len(archive.infolist()) or "task.json" not in members:
                raise InputError("library_file", path=path)
            if members["task.json"].file_size > _MAX_LIST_BYTES:
                raise InputError("library_file", path=path)
            _unpack_member(archive, members["task.json"], folder)
            task = read_task(folder)
            if not _as_listed(task, members) or _unpacked_bytes(members) > _allowed_bytes(path):
                raise InputError("library_file", path=path)
            for one in task.slices:
                for kind in KINDS:
                    _unpack_member(archive, members[f"{one.file}.{kind}.npy"], folder)
            return task
    except FileNotFoundError:
        raise InputError("file_missing", path=path) from None
    except _DAMAGE as error:
        if isinstance(error, InputError) and error.code != "library_damaged":
            raise
        raise InputError("library_file", path=path) from None


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    if member.compress_type not in _METHODS:  # others may ask for any amount of memory
        raise zipfile.BadZipFile("unknown method")
    with archive.open(member) as source, (folder / member.filename).open("xb") as target:
        shutil.copyfileobj(source, target, _BLOCK)


def _as_listed(task: LibraryTask, members: Mapping[str, zipfile.ZipInfo]) -> bool:
    """Whether an archive holds the files of a task, of the sizes that its list of slices says, and no other."""
    names = {"task.json", *(f"{one.file}.{ending}" for one in task.slices for ending in _ENDINGS)}
    if names != set(members):
        return False
    for one in task.slices:
        pixels = one.shape[0] * one.shape[1]
        image, mask = (members[f"{one.file}.{kind}.npy"].file_size for kind in KINDS)
        if mask - 2 * pixels not in _HEADER_BYTES:
            return False
        if not any(image - size * pixels in _HEADER_BYTES for size in (1, 2, 4, 8)):
            return False
    return True


def _unpacked_bytes(members: Mapping[str, zipfile.ZipInfo]) -> int:
    return sum(member.file_size for member in members.values())


def _allowed_bytes(path: Path) -> int:
    return min(_MAX_BYTES, max(_SMALL_BYTES, _MAX_RATIO * path.stat().st_size))
