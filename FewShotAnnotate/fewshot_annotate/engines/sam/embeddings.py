"""Cache of image embeddings on disk, so that a later run with other prompts skips the encoder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ...core.file_transaction import atomic_stream
from ...core.reading import DamagedContentError, decoding_archive

# Suffix of the cached files; other files in the folder are not touched.
SUFFIX = ".embedding.npy"


class EmbeddingCache:
    """A folder of arrays of limited size; the least recently used ones are removed first.

    Errors of reading and writing count as a cache miss: the cache never stops a run.

    Parameters
    ----------
    folder : Path or None
        None disables the cache. Created by the first write, accessible by this user only, because embeddings derive
        from patient images.
    limit : int
        Maximum total size in bytes.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self._folder = folder if limit > 0 else None
        self._limit = limit

    def get(self, key: str) -> np.ndarray | None:
        """The array of a key; None if it is not cached."""
        if self._folder is None:
            return None
        path = self._path(self._folder, key)
        try:
            with decoding_archive():
                array: np.ndarray = np.load(path, allow_pickle=False)
            os.utime(path)
        except (OSError, DamagedContentError):
            return None
        return array

    def put(self, key: str, array: np.ndarray) -> None:
        """Cache an array, unless it is larger than the limit."""
        if self._folder is None or array.nbytes > self._limit:
            return
        with contextlib.suppress(OSError, InputError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_stream(self._path(self._folder, key)) as stream:
                np.save(stream, array)
            self._trim(self._folder)

    def _trim(self, folder: Path) -> None:
        files = [(path.stat(), path) for path in folder.glob(f"*{SUFFIX}")]
        free_bytes = self._limit - sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
            if free_bytes >= 0:
                break
            path.unlink(missing_ok=True)
            free_bytes += stat.st_size

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}{SUFFIX}"


def embedding_key(image: np.ndarray, checkpoint: str, settings: str) -> str:
    """Cache key of the embedding of an image.

    Parameters
    ----------
    image : uint8 ndarray, shape [h, w]
    checkpoint : str
        Digest of the weights.
    settings : str
        Everything else that the embedding depends on: preprocessing and precision.
    """
    digest = hashlib.sha256(f"{image.shape} {checkpoint} {settings} ".encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()
