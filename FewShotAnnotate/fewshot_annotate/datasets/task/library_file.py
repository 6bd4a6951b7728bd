"""Export and import of a task as a zip archive, whose content is not trusted."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ...core import paths
from ...core.errors import InputError
from ...core.file_transaction import atomic_stream
from ...core.reading import MAX_TEXT_BYTES, DamagedContentError, decoding_archive, system_error
from .example import EXAMPLE_FILES, EXAMPLES, TaskExample
from .library import new_task_folder, task_folder
from .task import ARRAY_KINDS, TASK_FILE, Task, read_task

# Maximum size of the archive's directory, which is read first, and of the task.json of a small archive.
_MAX_LIST_BYTES = 4 << 20
# Maximum compression ratio, against zip bombs; images rarely reach 10. Small archives are exempt.
_MAX_RATIO = 100
_SMALL_BYTES = 64 << 20
_MAX_BYTES = 4 << 30
_HEADER_BYTES = range(64, 1025)
_MAX_PICTURE_BYTES = 16 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BLOCK_BYTES = 1 << 20
# Codes of the errors of an unpacked task that is damaged.
_DAMAGED = ("library_damaged", "task_example_damaged", "task_unreadable", "file_unreadable", "file_truncated")
_ENDINGS = (*(f"{kind}.npy" for kind in ARRAY_KINDS), "png")


def export_task(task: Task, path: Path, *, overwrite: bool = False) -> None:
    """Write a task to a .zip file, atomically.

    Raises
    ------
    InputError
        The file is there already, or cannot be written; the task is damaged.
    """
    if path.suffix.lower() != ".zip":
        raise InputError("suffix_unknown", path=path, allowed=".zip")
    if paths.lexists(path) and not overwrite:
        raise InputError("library_file_there", path=path)
    for example in task.examples:
        example.load(task.folder, len(task.segments))
    for library_slice in task.slices:
        task.pixels(library_slice)
        picture = task.thumbnail(library_slice)
        if not paths.is_file(picture) or paths.size(picture) > _MAX_PICTURE_BYTES:
            raise InputError("library_damaged", name=task.name, file=picture.name)
    with atomic_stream(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(task.folder / TASK_FILE, TASK_FILE)
        for example in task.examples:
            for name in EXAMPLE_FILES:  # compressed already
                archive.write(example.folder(task.folder) / name, _member_name(example, name), zipfile.ZIP_STORED)
        for library_slice in task.slices:
            for kind in ARRAY_KINDS:
                archive.write(task.folder / f"{library_slice.file}.{kind}.npy", f"{library_slice.file}.{kind}.npy")
            archive.write(task.thumbnail(library_slice), task.thumbnail(library_slice).name)


def import_task(path: Path, name: str | None = None) -> Task:
    """Import a task from a .zip file into the library, atomically. Thumbnails are drawn again.

    Parameters
    ----------
    path : Path
    name : str, optional
        Name of the task; default: the file name without suffix.

    Raises
    ------
    InputError
        The file is missing, no task or cannot be read, or the name cannot be one or is taken.
    """
    if paths.is_folder(path):
        raise InputError("task_file_is_folder", path=path)
    name = path.stem if name is None else name
    try:
        with new_task_folder(name) as folder:
            task = _unpack(path, folder)
            for example in task.examples:
                example.load(folder, len(task.segments))
            for library_slice in task.slices:
                task.write_thumbnail(library_slice)
    except InputError as error:
        if error.code in _DAMAGED:
            raise _import_error(path, error) from None
        if error.code == "task_of_later_version":
            raise InputError("task_of_later_version", name=name) from None
        raise
    return read_task(task_folder(name))


class _Bounded(io.FileIO):
    """A file whose reads are limited in size, against a huge zip directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > _MAX_LIST_BYTES:
            raise zipfile.BadZipFile("the directory is too long")
        return super().read(size) or b""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except OSError as error:  # a damaged directory may name a negative offset
            raise zipfile.BadZipFile(str(error)) from None


def _unpack(path: Path, folder: Path) -> Task:
    """Unpack a task into an empty folder; only files listed in task.json are unpacked."""
    paths.require_file(path)
    try:
        with _open_archive(path) as file, decoding_archive(), zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if len(members) < len(archive.infolist()) or members[TASK_FILE].file_size > _allowed_list_bytes(path):
                raise zipfile.BadZipFile("a member is there twice, or is too long")
            _unpack_member(archive, members[TASK_FILE], folder)
            task = read_task(folder)
            if not _as_listed(task, members) or _unpacked_bytes(members) > _allowed_bytes(path):
                raise zipfile.BadZipFile("its members are not those that task.json lists")
            for library_slice in task.slices:
                for kind in ARRAY_KINDS:
                    _unpack_member(archive, members[f"{library_slice.file}.{kind}.npy"], folder)
            for example in task.examples:
                example.folder(folder).mkdir(parents=True)
                for name in EXAMPLE_FILES:
                    _unpack_member(archive, members[_member_name(example, name)], folder)
                example.require_bounded(folder, _MAX_RATIO, _SMALL_BYTES)
            return task
    except DamagedContentError as error:
        if isinstance(error.__cause__, InputError) and error.__cause__.code == "task_of_later_version":
            raise error.__cause__ from None
        raise _import_error(path, error) from None


def _import_error(path: Path, error: Exception) -> InputError:
    """The error for an archive that another error makes useless: it holds no task, or cannot be read now."""
    cause = system_error(error)
    if cause is not None:
        return InputError("task_unreadable", path=path, detail=cause.strerror)
    return InputError("library_file", path=path)


def _open_archive(path: Path) -> _Bounded:
    try:
        return _Bounded(path)
    except FileNotFoundError:
        raise InputError("file_missing", path=path) from None
    except OSError as error:
        raise InputError("task_unreadable", path=path, detail=error.strerror) from None


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    if member.compress_type not in _METHODS:  # others may ask for any amount of memory
        raise zipfile.BadZipFile("unknown method")
    with archive.open(member) as source, (folder / member.filename).open("xb") as target:
        shutil.copyfileobj(source, target, _BLOCK_BYTES)


def _as_listed(task: Task, members: Mapping[str, zipfile.ZipInfo]) -> bool:
    """Whether an archive holds exactly the files that task.json lists, with the expected sizes."""
    slices = {f"{library_slice.file}.{ending}" for library_slice in task.slices for ending in _ENDINGS}
    examples = {_member_name(example, name) for example in task.examples for name in EXAMPLE_FILES}
    if {TASK_FILE, *slices, *examples} != set(members):
        return False
    if any(members[name].compress_type != zipfile.ZIP_STORED for name in examples):
        return False
    for library_slice in task.slices:
        pixels = library_slice.shape[0] * library_slice.shape[1]
        image, mask = (members[f"{library_slice.file}.{kind}.npy"].file_size for kind in ARRAY_KINDS)
        if mask - 2 * pixels not in _HEADER_BYTES:
            return False
        if not any(image - size * pixels in _HEADER_BYTES for size in (1, 2, 4, 8)):
            return False
    return True


def _member_name(example: TaskExample, name: str) -> str:
    return f"{EXAMPLES}/{example.number}/{name}"


def _unpacked_bytes(members: Mapping[str, zipfile.ZipInfo]) -> int:
    """Size of the members but those of examples, which are stored and so no larger than the archive."""
    return sum(member.file_size for name, member in members.items() if not name.startswith(f"{EXAMPLES}/"))


def _allowed_list_bytes(path: Path) -> int:
    """Maximum size of task.json: thousands of examples have a long one, but never one larger than all their files."""
    return min(MAX_TEXT_BYTES, max(_MAX_LIST_BYTES, paths.size(path)))


def _allowed_bytes(path: Path) -> int:
    return min(_MAX_BYTES, max(_SMALL_BYTES, _MAX_RATIO * path.stat().st_size))
