"""LiveRequests: changing labelled slices, passed to the live worker as files in the run folder.

live/N.npy holds the label values [m, h, w] of the labelled slices of request N; live/N.json, written after it, the
other data. The worker handles the latest request only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, Message
from ..core.reading import DamagedContentError, read_json_as
from ..core.storage import write_json
from ..core.support import Support
from ..io.array_file import read_npy, write_npy
from .run_folder import JobFolder

_FOLDER = "live"


@dataclass(frozen=True)
class LiveRequest:
    """Slices to fill again, and the current labelled slices."""

    support: Support
    slices: tuple[int, ...]


class LiveRequests:
    """The requests of one run folder.

    Parameters
    ----------
    folder : JobFolder
    """

    def __init__(self, folder: JobFolder) -> None:
        self._job = folder
        self._path = folder.path / _FOLDER

    def write(self, number: int, request: LiveRequest) -> None:
        """Write a request; numbers ascend from 1.

        Raises
        ------
        OSError, InputError
            It cannot be written.
        """
        self._path.mkdir(exist_ok=True)
        support = request.support
        self._array(number).unlink(missing_ok=True)  # left by an earlier process
        write_npy(self._array(number), support.masks)
        data = {
            "labelled": support.indices,
            "annotated": support.annotated.tolist(),
            "slices": request.slices,
        }
        write_json(self._path / f"{number}.json", data)

    def latest(self) -> int:
        """Number of the latest request, 0 if there is none."""
        if not self._path.is_dir():
            return 0
        return max((int(file.stem) for file in self._path.glob("*.json") if file.stem.isdigit()), default=0)

    def read(self, number: int) -> LiveRequest:
        """A request.

        Raises
        ------
        InputError
            It is damaged.
        """

        def parse(data: Mapping[str, Any]) -> LiveRequest:
            masks = read_npy(self._array(number))
            annotated = np.array(data["annotated"], dtype=bool).reshape(len(masks), len(self._job.labels))
            indices = tuple(map(int, data["labelled"]))
            support = Support(self._job.axis, indices, masks, self._job.labels, annotated)
            slices = tuple(map(int, data["slices"]))
            if masks.shape[1:] != self._job.shape[1:] or not set(slices) <= set(self._job.job.slices):
                raise ValueError("another grid")
            return LiveRequest(support, slices)

        try:
            return read_json_as(self._path / f"{number}.json", parse)
        except (OSError, DamagedContentError):
            raise InputError(
                "job_folder_unreadable", path=self._job.path, detail=Message("request_damaged")
            ) from None

    def clear(self) -> None:
        """Remove the requests of an earlier process."""
        for file in [*self._path.glob("*.json"), *self._path.glob("*.npy")]:
            file.unlink(missing_ok=True)

    def remove_before(self, number: int) -> None:
        """Remove the requests with smaller numbers."""
        for file in self._path.glob("*.json"):
            if file.stem.isdigit() and int(file.stem) < number:
                file.unlink(missing_ok=True)
                self._array(int(file.stem)).unlink(missing_ok=True)

    def _array(self, number: int) -> Path:
        return self._path / f"{number}.npy"
