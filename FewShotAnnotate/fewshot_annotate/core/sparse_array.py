"""Arrays of zeros that take memory only where other values were written, for label maps of many layers.

Beyond a limit they lie in unnamed temporary files, and a thread releases the memory of their pages again.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

# Smaller arrays are not worth a memory mapping.
_MIN_BYTES = 1 << 20
# Total size of all arrays, zeros included, above which further ones lie in files.
MAX_MEMORY_BYTES = 1 << 30
# Memory that pages of files may take, libraries included, and the interval at which it is checked.
MAX_FILE_BYTES = 1 << 29
_PAUSE_SECONDS = 0.05
_IN_MEMORY: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_IN_FILES: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_LOCK = threading.Lock()
# File systems that keep their files in memory.
_MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
# Folder for large temporary files if the usual one is kept in memory.
_DISK_FOLDER = "/var/tmp"


def sparse_zeros(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    """Array of zeros whose memory pages are allocated when they are written.

    `numpy.zeros` requests huge pages, so that a few written voxels allocate much memory.
    """
    kind = np.dtype(dtype)
    size = kind.itemsize * math.prod(shape)
    if size < _MIN_BYTES or not hasattr(mmap, "MAP_PRIVATE"):
        return np.zeros(tuple(shape), kind)
    pages = None
    if size + sum(map(len, _IN_MEMORY)) > MAX_MEMORY_BYTES:
        pages = _pages_of_file(size)
    if pages is None:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        _IN_MEMORY.add(pages)
    return np.frombuffer(pages, kind).reshape(tuple(shape))


def release_pages() -> None:
    """Release the memory of arrays that lie in files; pages that are used again are read from the file."""
    with _LOCK:
        mapped = tuple(_IN_FILES)
    for pages in mapped:
        pages.madvise(mmap.MADV_DONTNEED)


def copy_nonzero(target: np.ndarray, values: np.ndarray) -> None:
    """Copy values `[k, j, i]` to an array of zeros of the same shape; rows of zeros are not written."""
    for target_slice, value_slice in zip(target, values, strict=True):
        rows = np.flatnonzero(value_slice.any(axis=1))
        if len(rows):
            target_slice[rows] = value_slice[rows]


def sparse_copy(array: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """Copy of an array `[k, j, i]` that takes memory only where it is not 0."""
    result = sparse_zeros(array.shape, dtype or array.dtype)
    copy_nonzero(result, array)
    return result


def _pages_of_file(size: int) -> mmap.mmap | None:
    """Zeros in a new file that is removed with the process; None if the system does not support it or has no room."""
    if not (hasattr(os, "posix_fallocate") and hasattr(mmap, "MADV_DONTNEED")):
        return None
    for folder in (tempfile.gettempdir(), _DISK_FOLDER):
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            if not _is_kept_in_memory(file.fileno()):
                os.posix_fallocate(file.fileno(), 0, size)  # without room, writing would end the process
                pages = mmap.mmap(file.fileno(), size)
                _watch(pages)
                return pages
    return None


def _watch(pages: mmap.mmap) -> None:
    """Add pages of a file to those whose memory is released, by a thread that ends when there are none any more."""
    with _LOCK:
        alone = not _IN_FILES
        _IN_FILES.add(pages)
        if alone:
            threading.Thread(target=_release_repeatedly, name="pages of arrays", daemon=True).start()


def _release_repeatedly() -> None:
    while True:
        time.sleep(_PAUSE_SECONDS)
        if _file_bytes_in_memory() > MAX_FILE_BYTES:
            release_pages()
        with _LOCK:
            if not _IN_FILES:
                return


def _file_bytes_in_memory() -> int:
    """Memory of this process that holds pages of files."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[2]) * mmap.PAGESIZE


def _is_kept_in_memory(descriptor: int) -> bool:
    """Whether the file system of a file keeps it in memory; False if that cannot be determined."""
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()
        if fields[2] == number:
            return fields[fields.index("-") + 1] in _MEMORY_FILE_SYSTEMS
    return False
