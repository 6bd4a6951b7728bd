"""Size and checksum of files: computed while they are written, and from the disk."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import IO, Any

_BLOCK_BYTES = 1 << 20

# Size in bytes and CRC-32 of a file.
FileIdentity = tuple[int, int]


class CheckedStream(io.RawIOBase):
    """A stream that computes size and checksum of what is written, to verify the file afterwards."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._size = 0
        self._checksum = 0

    def writable(self) -> bool:
        """Always True: it is an output stream."""
        return True

    def write(self, data: Any) -> int:
        """Write all bytes, unlike a raw stream, which may write fewer."""
        view = memoryview(data).cast("B")
        self._checksum = zlib.crc32(view, self._checksum)
        self._size += len(view)
        remaining = view
        while remaining:
            remaining = remaining[self._file.write(remaining) :]
        return len(view)

    def close(self) -> None:
        """Close the file as well."""
        self._file.close()
        super().close()

    @property
    def identity(self) -> FileIdentity:
        """Size and checksum of what was written so far."""
        return self._size, self._checksum

    def is_in(self, path: Path) -> bool:
        """Whether a file holds exactly what was written."""
        return file_identity(path) == self.identity


def file_identity(path: Path) -> FileIdentity:
    """Size and checksum of a file.

    Raises
    ------
    OSError
        It cannot be read.
    """
    size, checksum = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum
