"""Image embeddings kept on disk: a second run with better prompts skips the encoder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ...core.file_transaction import atomic_stream

# Suffix of the files; all others in the folder are left alone.
SUFFIX = ".embedding.npy"


class EmbeddingCache:
    """A bounded folder of arrays; those not used for the longest time go first.

    What cannot be read or written is as if it had not been kept: a cache never stops a run.

    Parameters
    ----------
    folder : Path or None
        None keeps nothing. Made when it is first written to, and for this user alone: embeddings come from patient
        images.
    limit : int
        Bytes that all files may have together.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self._folder = folder if limit > 0 else None
        self._limit = limit

    def get(self, key: str) -> np.ndarray | None:
        """The array of a key, or None."""
        if self._folder is None:
            return None
        path = self._path(self._folder, key)
        try:
            array: np.ndarray = np.load(path, allow_pickle=False)
            os.utime(path)
        except (OSError, ValueError, EOFError):
            return None
        return array

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array, unless it is larger than all the room."""
        if self._folder is None or array.nbytes > self._limit:
            return
        with contextlib.suppress(OSError, InputError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_stream(self._path(self._folder, key)) as stream:
                np.save(stream, array)
            self._trim(self._folder)

    def _trim(self, folder: Path) -> None:
        files = [(path.stat(), path) for path in folder.glob(f"*{SUFFIX}")]
        room = self._limit - sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda one: one[0].st_mtime_ns):
            if room >= 0:
                break
            path.unlink(missing_ok=True)
            room += stat.st_size

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}{SUFFIX}"


def embedding_key(image: np.ndarray, checkpoint: str, recipe: str) -> str:
    """Key of an image as a model sees it.

    Parameters
    ----------
    image : uint8 ndarray, shape [h, w]
    checkpoint : str
        Digest of the weights.
    recipe : str
        All else that the embedding depends on: how the image is prepared, the precision of the encoder.
    """
    digest = hashlib.sha256(f"{image.shape} {checkpoint} {recipe} ".encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()
