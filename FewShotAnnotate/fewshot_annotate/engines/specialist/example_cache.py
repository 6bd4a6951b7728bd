"""Prepared examples on disk, which are mapped into memory so that only the parts in use are loaded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ...core.storage import write_bytes
from .preparation import PreparedExample


class ExampleCache:
    """Prepared examples of one training, in files that are mapped into memory.

    Parameters
    ----------
    folder : Path
        An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def holds(self, index: int) -> bool:
        """Whether an example has been written."""
        return self._path(index, "labels").is_file()

    def write(self, index: int, example: PreparedExample) -> None:
        """Write an example; raises `InputError` if that fails."""
        write_bytes(self._path(index, "image"), _bytes(example.image))
        write_bytes(self._path(index, "labels"), _bytes(example.labels))

    def read(self, index: int) -> PreparedExample:
        """An example whose arrays are read-only maps of the files."""
        image = np.load(self._path(index, "image"), mmap_mode="r")
        return PreparedExample(image, np.load(self._path(index, "labels"), mmap_mode="r"))

    def _path(self, index: int, kind: str) -> Path:
        return self._folder / f"{index}.{kind}.npy"


def _bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
