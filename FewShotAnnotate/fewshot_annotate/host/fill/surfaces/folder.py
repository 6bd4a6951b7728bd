"""SurfaceFolder: masks of segments, written by the host, and their closed surfaces, written by the worker.

=====================  ===============================================================================================
request.json           conversion settings, voxel-to-RAS matrix, and for each mask its name and first voxel
NAME.mask.npy          uint8 [k, j, i], cropped to the segment
NAME.ARRAY.npy         an array of the surface, see `SurfaceArrays`
NAME.json              checksum of each of them, written last: a surface is complete, or it does not exist
=====================  ===============================================================================================

NAME is a checksum of the mask: surfaces stay valid when the user edits another segment meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ....core.errors import InputError, Message
from ....core.events import Event
from ....core.reading import DamagedContentError, read_json_as
from ....core.storage import write_json
from ....io.array_file import read_npy, write_npy
from ....jobs.work_folder import WorkFolder
from ..changes import Box
from .conversion import SurfaceArrays, SurfaceSettings

_ARRAYS = tuple(field.name for field in fields(SurfaceArrays))
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class SurfaceRequest:
    """Request to the worker for surfaces.

    Attributes
    ----------
    settings : SurfaceSettings
    ijk_to_ras : tuple of 16 floats
        Voxel (i, j, k) to RAS, mm, row by row.
    first : dict of str to (int, int, int)
        Name of a mask -> number (k, j, i) of its first voxel.
    """

    settings: SurfaceSettings
    ijk_to_ras: tuple[float, ...]
    first: Mapping[str, tuple[int, ...]]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SurfaceRequest:
        """The inverse of `asdict`."""
        first = {str(name): tuple(map(int, voxel)) for name, voxel in data["first"].items()}
        return cls(SurfaceSettings(**data["settings"]), tuple(map(float, data["ijk_to_ras"])), first)


class SurfaceFolder(WorkFolder):
    """Folder through which host and worker exchange masks and surfaces."""

    @classmethod
    def write(
        cls,
        path: Path,
        boxes: Mapping[str, Box],
        first: Sequence[int],
        ijk_to_ras: np.ndarray,
        settings: SurfaceSettings,
    ) -> tuple[SurfaceFolder, dict[str, str]]:
        """Write the request; masks and surfaces of an earlier request that it needs again are kept.

        Parameters
        ----------
        path : Path
        boxes : mapping of str to Box
            Segment id -> its voxels.
        first : (int, int, int)
            Number (i, j, k) of the grid's first voxel.
        ijk_to_ras : ndarray 4x4
        settings : SurfaceSettings

        Returns
        -------
        folder : SurfaceFolder
        names : dict of str to str
            Segment id -> name of its mask.

        Raises
        ------
        OSError, InputError
            It cannot be written.
        """
        path.mkdir(exist_ok=True)
        folder = cls(path)
        names, starts = {}, {}
        for segment_id, box in boxes.items():
            start = tuple(number + offset for number, offset in zip(box.first, first[::-1], strict=True))
            name = names[segment_id] = _mask_name(box, start, ijk_to_ras, settings)
            starts[name] = start
            with contextlib.suppress(FileExistsError):
                write_npy(folder._path(name, "mask"), box.mask.view(np.uint8))
        request = SurfaceRequest(settings, tuple(map(float, ijk_to_ras.reshape(-1))), starts)
        write_json(path / "request.json", asdict(request))
        return folder, names

    def request(self) -> SurfaceRequest:
        """The request of the host.

        Raises
        ------
        InputError
            It cannot be read.
        """
        try:
            return read_json_as(self.path / "request.json", SurfaceRequest.from_json)
        except (OSError, DamagedContentError):
            raise InputError(
                "job_folder_unreadable", path=self.path, detail=Message("file_is_damaged", file="request.json")
            ) from None

    def read_mask(self, name: str) -> np.ndarray:
        """Voxels of a segment, uint8 [k, j, i]."""
        return read_npy(self._path(name, "mask"))

    def write_surface(self, name: str, surface: SurfaceArrays) -> None:
        """Write the surface of a mask.

        Raises
        ------
        OSError, InputError
            It cannot be written.
        """
        checksums = {}
        for array in _ARRAYS:
            path = self._path(name, array)
            path.unlink(missing_ok=True)  # of a worker that died
            write_npy(path, getattr(surface, array))
            checksums[array] = _checksum(getattr(surface, array))
        write_json(self.path / f"{name}.json", checksums)

    def read_surface(self, name: str) -> SurfaceArrays | None:
        """The surface of a mask; None if it is missing or damaged."""
        try:
            checksums = read_json_as(self.path / f"{name}.json", dict)
            arrays = {array: read_npy(self._path(name, array)) for array in _ARRAYS}
        except (OSError, ValueError):  # `DamagedContentError` is a `ValueError`
            return None
        sound = all(_checksum(content) == checksums.get(array) for array, content in arrays.items())
        return SurfaceArrays(**arrays) if sound else None

    def has_surface(self, name: str) -> bool:
        """Whether the surface of a mask was written."""
        return (self.path / f"{name}.json").is_file()

    def concerns(self, event: Event) -> bool:
        """Every event of the worker is about the one request."""
        return True

    def _path(self, name: str, array: str) -> Path:
        return self.path / f"{name}.{array}.npy"


def _mask_name(box: Box, start: Sequence[int], ijk_to_ras: np.ndarray, settings: SurfaceSettings) -> str:
    described = repr((tuple(start), box.mask.shape, ijk_to_ras.tolist(), settings)).encode()
    digest = hashlib.blake2b(described, digest_size=_DIGEST_BYTES)
    digest.update(np.packbits(box.mask).data)
    return digest.hexdigest()


def _checksum(array: np.ndarray) -> str:
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
