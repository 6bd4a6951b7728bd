"""Storage: files of ours appear whole or not at all. Every file that must not be lost is written here.

A file is written under an unguessable name beside its place, brought to the disk, read back, and only then takes its
place in one step. Until then the file that was there is untouched, whatever happens: a full disk, a crash, a power
cut. Reading back is no formality: ITK's writers do not notice that a disk is full.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .cells import as_text
from .errors import InputError
from .interrupts import uninterrupted
from .paths import require_nameable
from .temporary import TemporaryFile

# Folders of results that could not be written where they should go. They are never removed.
KEPT_PREFIX = "fewshot-results-"
_BLOCK_BYTES = 1 << 20
_DISK_FULL = "the disk is full, or the folder takes no such file"
_NOT_READ_BACK = "it does not read back as it was written; the disk is probably full or damaged"

# Tells whether a file holds what was written; may raise what a reader of damaged files raises.
Check = Callable[[Path], bool]


class Replacement:
    """New files that take their places together, once all of them read back right. For a `with` statement.

    If anything fails, or the block raises, none of them does, and no trace is left.

    Raises
    ------
    InputError
        At the end of the block: a file cannot be written, or does not read back as it was written.
    """

    def __init__(self) -> None:
        self._drafts: list[_Draft] = []

    def file(self, path: Path, suffix: str, check: Check) -> Path:
        """A file to be written by its path, by a library that chooses the format by the suffix.

        Parameters
        ----------
        path : Path
            Its place.
        suffix : str
            End of the name that it has until then.
        check : function
            Takes the file's path, and says whether it holds what was to be written.
        """
        return self._new(path, suffix, check).file.path

    def stream(self, path: Path) -> CheckedStream:
        """A file to be written from its beginning to its end."""
        draft = self._new(path, "", lambda temporary: stream.is_in(temporary))
        stream = CheckedStream(draft.file.open())
        draft.stream = stream
        return stream

    def rehearse(self) -> None:
        """Do all that is done at the end of the block but put the files in their places; then remove them.

        Raises
        ------
        InputError
            As at the end of the block.
        """
        try:
            for draft in self._drafts:
                draft.close_stream()
                draft.require_written()
        finally:
            for draft in self._drafts:
                draft.file.close()
            self._drafts.clear()

    def _new(self, path: Path, suffix: str, check: Check) -> _Draft:
        try:
            draft = _Draft(path, TemporaryFile(path.parent, suffix), check)
        except OSError as error:
            raise unwritable(path, error) from None
        self._drafts.append(draft)
        return draft

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            for draft in self._drafts:
                draft.close_stream()
            if isinstance(error, OSError):
                raise unwritable(self._drafts[-1].path if self._drafts else "the file", error) from None
            if kind is None:
                self._put_in_place()
        finally:
            for draft in self._drafts:
                draft.file.close()

    def _put_in_place(self) -> None:
        for draft in self._drafts:
            draft.require_written()
        with uninterrupted():
            for draft in self._drafts:
                draft.put_in_place()


@dataclass
class _Draft:
    """A file on its way to its place."""

    path: Path
    file: TemporaryFile
    check: Check
    stream: CheckedStream | None = None

    def close_stream(self) -> None:
        if self.stream is not None:
            self.stream.close()

    def require_written(self) -> None:
        try:
            self.file.bring_to_disk()
            right = self.check(self.file.path)
        except OSError as error:
            raise unwritable(self.path, error) from None
        if not right:
            raise InputError("output_unwritable", path=self.path, detail=_NOT_READ_BACK)

    def put_in_place(self) -> None:
        try:
            self.file.rename(self.path)
            bring_names_to_disk(self.path.parent)
        except OSError as error:
            raise unwritable(self.path, error) from None


class CheckedStream(io.RawIOBase):
    """A new file that is written once from its beginning to its end, and knows how to recognise it afterwards."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._size = 0
        self._checksum = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        view = memoryview(data).cast("B")
        self._checksum = zlib.crc32(view, self._checksum)
        self._size += len(view)
        rest = view
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(view)

    def close(self) -> None:
        self._file.close()
        super().close()

    def is_in(self, path: Path) -> bool:
        """Whether a file holds what was written, no more and no less."""
        size, checksum = 0, 0
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                size, checksum = size + len(block), zlib.crc32(block, checksum)
        return (size, checksum) == (self._size, self._checksum)


@contextlib.contextmanager
def replaced(path: Path, suffix: str, check: Check) -> Iterator[Path]:
    """One file of `Replacement`, to be written by its path."""
    with Replacement() as files:
        yield files.file(path, suffix, check)


@contextlib.contextmanager
def written(path: Path) -> Iterator[CheckedStream]:
    """One file of `Replacement`, to be written from its beginning to its end."""
    with Replacement() as files:
        yield files.stream(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file; `InputError` where that cannot be."""
    with written(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, line ends as they are; `InputError` where that cannot be.

    What no text can hold, halves of characters such as in names of files that are not UTF-8, is written as `?`.
    """
    write_bytes(path, text.encode("utf-8", "replace"))


def write_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write a JSON file in ASCII; `InputError` where that cannot be."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in UTF-8, no text in it a formula (`as_text`); `InputError` where that cannot be."""
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (head, *rows):
        cells = [as_text(cell) if isinstance(cell, str) else cell for cell in row]
        # The csv module leaves a carriage return outside of quotes, where it ends the row for those who read it.
        (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)
    write_text(path, text.getvalue())


def require_name(path: Path) -> None:
    """Raise `InputError` if nothing can be written in a folder under a name. Leaves no trace."""
    require_nameable(path)
    try:
        with uninterrupted():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            path.unlink()
    except FileExistsError:
        pass
    except OSError as error:
        raise unwritable(path, error) from None


def bring_to_disk(path: Path) -> None:
    """Wait until a file that was written by others is on the disk and not only in memory.

    Raises
    ------
    OSError
        The disk is full.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def bring_names_to_disk(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk, where a file system can do that."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unwritable(path: object, error: OSError) -> InputError:
    """The refusal that says why a file cannot be written."""
    return InputError("output_unwritable", path=path, detail=error.strerror or _DISK_FULL)


# A file to be written, and the function that does so; its own name may be another one.
Result = tuple[Path, Callable[[Path], None]]


def write_results(results: Sequence[Result], *places: Path) -> None:
    """Write what took long to make. What cannot be written where it should go is kept where there is room.

    Parameters
    ----------
    results : sequence of (Path, function)
        The function writes the result to the path it is given, of the same suffix, and raises `InputError` if it
        cannot.
    *places : Path
        Folders to try first; then that of temporary files, the user's own and the present one are tried.

    Raises
    ------
    InputError
        Something could not be written in its place. The error says where it is now.
    """
    refused: list[tuple[Result, InputError]] = []
    for path, write in results:
        try:
            write(path)
        except InputError as error:
            if error.code != "output_unwritable":
                raise
            refused.append(((path, write), error))
    if not refused:
        return
    first = refused[0][1]
    for place in (*places, Path(tempfile.gettempdir()), Path.home(), Path.cwd()):
        kept = _kept([result for result, _ in refused], place)
        if kept:
            listed = ", ".join(map(str, kept))
            data = {"path": refused[0][0][0], "detail": first.data.get("detail", _DISK_FULL), "kept": listed}
            raise InputError("output_kept_elsewhere", **data)
    raise first


def _kept(results: Sequence[Result], place: Path) -> list[Path]:
    """Where results are now, in a new folder below `place`; nothing if it cannot take all of them."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=KEPT_PREFIX, dir=place))
    except OSError:
        return []
    try:
        kept = [folder / _plain_name(path, number) for number, (path, _) in enumerate(results)]
        for (_, write), goal in zip(results, kept, strict=True):
            write(goal)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        return []
    return kept


def _plain_name(path: Path, number: int) -> str:
    """A name that any file system takes, with the same suffixes, and other than that of another number."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() else "_" for letter in path.name)[-80:]
    return f"{number + 1}-{plain}" if number else plain
