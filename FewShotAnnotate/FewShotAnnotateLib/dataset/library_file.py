"""A library task as one file, to hand to someone else: a zip archive of its folder, of which nothing is trusted."""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from pathlib import Path

from ..core import paths
from ..core.errors import InputError
from ..core.storage import written
from ..core.temporary import TemporaryFolder
from .library import alone, library_folder
from .library_task import KINDS, LibraryTask, read_task
from .manifest import is_folder_name

_MEMBER = re.compile(r"task\.json|\d{4}\.(image|mask)\.npy|\d{4}\.png")
# Far above any task; below what fills a disk or the memory unnoticed.
_MOST_BYTES = 8 << 30
_MOST_TASK_BYTES = 64 << 20
_BLOCK = 1 << 20
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
        library.mkdir(parents=True, exist_ok=True)
        with alone(library):
            if paths.is_occupied(library / name):
                raise InputError("library_taken", name=name)
            try:
                with TemporaryFolder(library) as temporary:
                    _unpack(path, temporary)
                    for one in read_task(temporary).slices:
                        read_task(temporary).write_thumbnail(one)
                    temporary.rename(library / name)
            except InputError as error:
                if error.code == "library_damaged":
                    raise InputError("library_file", path=path) from None
                raise
    except OSError as error:
        raise InputError("output_unwritable", path=library, detail=error.strerror or "the disk is full") from None
    return read_task(library / name)


def _unpack(path: Path, folder: Path) -> None:
    """The members of an archive that a task has, as files in an empty folder; anything else refuses the archive."""
    paths.require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            sizes = {member.filename: member.file_size for member in members}
            expected = len(set(names)) == len(names) and all(map(_MEMBER.fullmatch, names)) and "task.json" in sizes
            if not expected or sum(sizes.values()) > _MOST_BYTES or sizes["task.json"] > _MOST_TASK_BYTES:
                raise InputError("library_file", path=path)
            for member in members:
                if not member.filename.endswith(".png"):
                    with archive.open(member) as source, (folder / member.filename).open("xb") as target:
                        shutil.copyfileobj(source, target, _BLOCK)
    except FileNotFoundError:
        raise InputError("file_missing", path=path) from None
    except _DAMAGE:
        raise InputError("library_file", path=path) from None
