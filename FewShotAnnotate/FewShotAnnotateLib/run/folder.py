"""JobFolder: the contract between host and worker, all of it files.

==============  ===========================================================================================
job.json        job, grid, axis, labelled slices, labels, and a fingerprint of the input
image.npy       [n, h, w] slices along the job's axis, the volume's own dtype
support.npy     [m, h, w] label values of the labelled slices
result.npy      [n, h, w] label values, written slice by slice
confidence.npy  [n, h, w] uint8, 0..255 for 0..1, written slice by slice
finished.npy    [n] uint8, a slice of both is: 0 not yet written, 1 a draft, 2 final
expected.json   the Dice that the engine expects of its result, once it said so
events.jsonl    one event a line, appended
cancel          its presence asks the worker to stop
worker.lock     held by the one worker of this folder
worker.log      what the worker printed to stderr
==============  ===========================================================================================

job.json is written as job.json.partial first and renamed last: a folder with only the latter is left over from a
process that died while it made the folder, and is made anew.

A final slice is written over its draft and flagged after that. If the worker dies in between, the slice is still a
draft, though some of its rows may be those of the final one.

All room is taken when the folder is made, so a full disk is found before the work and not in the middle of it.
Written files are read and written by plain input and output, never mapped, so they can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.event import Event, Expected, SliceDone
from ..core.expected import ExpectedDice
from ..core.job import Job
from ..core.storage import write_json
from ..core.support import Support
from ..core.volume import Geometry, Volume
from .work_folder import WorkFolder

# Exit code of a worker that cannot write its events, EX_IOERR of sysexits.h: only the code is left to say so.
CANNOT_WRITE = 74
CONFIDENCE_SCALE = 255.0
_BLOCK = 1 << 24
_ARRAYS = ("image", "support", "result", "confidence", "finished")
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
)


class Flag(IntEnum):
    """State of a slice in finished.npy."""

    NOT_YET = 0
    DRAFT = 1
    FINAL = 2


class JobFolder(WorkFolder):
    """One job on disk. Make one with `create` or `open`."""

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        super().__init__(path)
        self._description = description
        self.job = Job.from_json(description["job"])
        self.grid = Geometry.from_json(description["grid"])
        self.axis = SliceAxis(description["axis"])
        self.indices = tuple(int(index) for index in description["labelled"])
        self.labels = tuple(int(label) for label in description["labels"])
        self.known = np.array(description["known"], dtype=bool).reshape(len(self.indices), len(self.labels))
        self.fingerprint = str(description["fingerprint"])
        self.shape = self.axis.shape(self.grid)
        if self.job.stop > self.shape[0]:
            raise ValueError(f"slice range {self.job.start}:{self.job.stop} leaves the volume")
        if not _ascending(self.indices, 0, self.shape[0] - 1) or not _ascending(self.labels, 1, 65535):
            raise ValueError("the labelled slices or the labels do not ascend or do not exist")

    @classmethod
    def create(cls, path: str | Path, job: Job, volume: Volume, support: Support) -> JobFolder:
        """Write a new job folder; nothing is left behind if that fails.

        Raises
        ------
        InputError
            The folder holds something already, or cannot be written.
        """
        path = Path(path)
        existed = path.exists()
        if existed:
            _empty_if_torn(path)
            if not path.is_dir() or any(path.iterdir()):
                raise InputError("job_folder_used", path=path)
        description = {
            "job": job.to_json(),
            "grid": volume.geometry.to_json(),
            "axis": support.axis.index,
            "labelled": list(support.indices),
            "labels": list(support.labels),
            "known": support.known.tolist(),
            "fingerprint": fingerprint(volume, support),
        }
        try:
            path.mkdir(parents=True, exist_ok=True)
            partial = path / "job.json.partial"
            partial.write_text(json.dumps(description), encoding="ascii")
            slices = support.axis.slices(volume.array)
            np.save(path / "image.npy", np.ascontiguousarray(slices))
            np.save(path / "support.npy", support.masks)
            kind = np.dtype(np.uint8 if max(support.labels) <= 255 else np.uint16)
            _allocate(path / "result.npy", slices.shape, kind)
            _allocate(path / "confidence.npy", slices.shape, np.dtype(np.uint8))
            _allocate(path / "finished.npy", slices.shape[:1], np.dtype(np.uint8))
            (path / "events.jsonl").touch()
            partial.replace(path / "job.json")
        except OSError as error:
            if existed:
                for file in path.iterdir():
                    file.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)
            # numpy's own error for a full disk carries no system message
            detail = error.strerror or "the disk is full"
            raise InputError("output_unwritable", path=path, detail=detail) from None
        return cls(path, description)

    @classmethod
    def open(cls, path: str | Path) -> JobFolder:
        """An existing job folder.

        Raises
        ------
        InputError
            No job there, one of another version, or one with files missing or cut short.
        """
        path = Path(path)
        try:
            folder = cls(path, json.loads((path / "job.json").read_text(encoding="ascii")))
            for name in _ARRAYS:
                folder._require_array(name)
        except FileNotFoundError as error:
            name = Path(error.filename).name
            raise InputError("job_folder_unreadable", path=path, detail=f"{name} is missing") from None
        except InputError:
            raise InputError("job_folder_unreadable", path=path, detail="job.json names no axis") from None
        except _DAMAGE as error:
            detail = str(error).split("\n")[0] or type(error).__name__
            raise InputError("job_folder_unreadable", path=path, detail=detail) from None
        return folder

    def _require_array(self, name: str) -> None:
        """Raise `ValueError` if an array is not what job.json says, or cut short."""
        path = self.path / f"{name}.npy"
        shape, kind, start = _layout(path)
        expected = {"finished": self.shape[:1], "support": (len(self.indices), *self.shape[1:])}.get(name, self.shape)
        kinds = {"image": "iuf", "finished": "u", "confidence": "u"}.get(name, "u")
        fits = (
            shape == expected
            and kind.kind in kinds
            and (kind.itemsize == 1 or name not in ("finished", "confidence"))
        )
        if not fits or path.stat().st_size < start + math.prod(shape) * kind.itemsize:
            raise ValueError(f"{name}.npy does not fit job.json")

    @staticmethod
    def holds_job(path: str | Path) -> bool:
        """Whether a complete job folder was made there."""
        return (Path(path) / "job.json").is_file()

    def require_same_input(self, job: Job, volume: Volume, support: Support) -> None:
        """Raise `InputError` if this folder's job is not the one described, so it cannot be continued.

        The time limit may be another one.
        """
        if replace(self.job, budget=job.budget) != job:
            raise InputError("job_differs", path=self.path, what="engine, slice range or option")
        if self.fingerprint != fingerprint(volume, support):
            raise InputError("job_differs", path=self.path, what="image or labels")

    def set_budget(self, budget: float | None) -> None:
        """Give the job another time limit, which the next worker counts from its start.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        if budget == self.job.budget:
            return
        self.job = replace(self.job, budget=budget)
        self._description["job"] = self.job.to_json()
        write_json(self.path / "job.json", self._description)

    # --- input, as the worker reads it

    def read_volume(self) -> Volume:
        """The volume, memory-mapped."""
        return Volume(self.axis.restore(np.load(self.path / "image.npy", mmap_mode="r")), self.grid)

    def read_support(self) -> Support:
        """The labelled slices."""
        return Support(self.axis, self.indices, np.load(self.path / "support.npy"), self.labels, self.known)

    # --- output

    def finished(self) -> np.ndarray:
        """Which slices are written, be it as drafts, bool [n]."""
        return np.isin(self._flags(), (Flag.DRAFT, Flag.FINAL))

    def drafts(self) -> np.ndarray:
        """Which slices hold drafts, to be replaced by final ones, bool [n]."""
        return self._flags() == Flag.DRAFT

    def pending(self) -> list[int]:
        """Slices of the job that are neither labelled nor final, ascending."""
        flags = self._flags()
        labelled = set(self.indices)
        return [index for index in self.job.slices if index not in labelled and flags[index] != Flag.FINAL]

    def _flags(self) -> np.ndarray:
        name = self.path / "finished.npy"
        shape, kind, start = _layout(name)
        return np.fromfile(name, kind, shape[0], offset=start)

    def expected(self) -> tuple[ExpectedDice, ...]:
        """What the engine said last of the Dice to expect; empty if it said nothing, or if the file is damaged."""
        try:
            entries = json.loads((self.path / "expected.json").read_text(encoding="ascii"))
            expected = tuple(ExpectedDice.from_json(entry) for entry in entries)
        except _DAMAGE:
            return ()
        return expected if {one.label for one in expected} <= set(self.labels) else ()

    def write_expected(self, expected: Sequence[ExpectedDice]) -> None:
        """Keep what the engine said; a reader sees the old or the new, never a part."""
        write_json(self.path / "expected.json", [one.to_json() for one in expected])

    def result_slice(self, index: int) -> np.ndarray:
        """Label values [h, w] of a finished slice."""
        return _read_slice(self.path / "result.npy", index)

    def confidence_slice(self, index: int) -> np.ndarray:
        """Confidence 0..1 of a finished slice, float32 [h, w]."""
        return _read_slice(self.path / "confidence.npy", index).astype(np.float32) / np.float32(CONFIDENCE_SCALE)

    def assemble(self) -> tuple[np.ndarray, np.ndarray]:
        """Labelled and finished slices together.

        Returns
        -------
        labels : uint8 or uint16 ndarray [k, j, i]
            0 on slices that are neither.
        confidence : float32 ndarray [k, j, i]
            1 on labelled slices, 0 on slices that are neither.
        """
        support = self.read_support()
        labels = np.zeros(self.shape, dtype=_layout(self.path / "result.npy")[1])
        confidence = np.zeros(self.shape, dtype=np.float32)
        for done in map(int, np.flatnonzero(self.finished())):
            labels[done] = self.result_slice(done)
            confidence[done] = self.confidence_slice(done)
        for index, mask in zip(support.indices, support.masks, strict=True):
            labels[index] = mask
            confidence[index] = 1.0
        return self.axis.restore(labels), self.axis.restore(confidence)

    # --- signals

    def concerns(self, event: Event) -> bool:
        """Whether an event can be about this job: one about a slice or a label names one that is there."""
        if isinstance(event, SliceDone):
            return event.index in self.job.slices
        return not isinstance(event, Expected) or event.label in self.labels


class SliceWriter:
    """The worker's hand on result, confidence and finished; a slice is flagged only when both are written."""

    def __init__(self, folder: JobFolder) -> None:
        self._files: dict[str, tuple[IO[bytes], np.dtype, int, int]] = {}
        for name in ("result", "confidence", "finished"):
            path = folder.path / f"{name}.npy"
            shape, kind, start = _layout(path)
            size = int(np.prod(shape[1:], dtype=np.int64)) * kind.itemsize
            self._files[name] = (path.open("r+b", buffering=0), kind, start, size)

    def write(self, index: int, labels: np.ndarray, confidence: np.ndarray, draft: bool = False) -> None:
        """Write one slice: label values [h, w] and confidence 0..1 [h, w]."""
        flag = np.array([Flag.DRAFT if draft else Flag.FINAL])
        scaled = np.rint(np.clip(confidence, 0.0, 1.0) * CONFIDENCE_SCALE)
        for name, array in (("result", labels), ("confidence", scaled), ("finished", flag)):
            file, kind, start, size = self._files[name]
            data = memoryview(np.ascontiguousarray(array.astype(kind))).cast("B")
            if len(data) != size:
                raise ValueError(f"slice {index}: {array.shape} does not fit {name}.npy")
            file.seek(start + index * size)
            while data:
                data = data[file.write(data) :]

    def close(self) -> None:
        """Close the files."""
        for file, *_ in self._files.values():
            file.close()

    def __enter__(self) -> SliceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fingerprint(volume: Volume, support: Support) -> str:
    """Digest of all input a result depends on."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([volume.geometry.to_json(), str(volume.array.dtype)]).encode())
    for part in volume.array:
        digest.update(np.ascontiguousarray(part).data)
    described = [support.axis.index, support.indices, support.labels, str(support.masks.dtype)]
    digest.update(json.dumps(described).encode())
    digest.update(np.ascontiguousarray(support.masks).data)
    digest.update(np.ascontiguousarray(support.known).data)
    return digest.hexdigest()


def _ascending(numbers: tuple[int, ...], least: int, most: int) -> bool:
    """Whether there are numbers, each larger than the one before, all within limits."""
    return list(numbers) == sorted(set(numbers)) and bool(numbers) and numbers[0] >= least and numbers[-1] <= most


def _empty_if_torn(path: Path) -> None:
    """Remove what is left of a folder whose making was interrupted; nothing else is ever removed."""
    if (path / "job.json.partial").is_file() and not (path / "job.json").exists():
        for name in (*(f"{array}.npy" for array in _ARRAYS), "events.jsonl", "job.json.partial"):
            (path / name).unlink(missing_ok=True)


def _allocate(path: Path, shape: tuple[int, ...], kind: np.dtype) -> None:
    """An .npy file of zeros that really occupies its room."""
    left = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        zeros = bytes(min(left, _BLOCK))
        while left:
            left -= file.write(zeros[: min(left, _BLOCK)])


def _layout(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and first data byte of an .npy file of real numbers in C order, as NEP 1 describes it.

    Raises
    ------
    ValueError
        It is none. numpy's own reader lets all kinds of exceptions and warnings through for a damaged header.
    """
    with path.open("rb") as file:
        start = file.read(10)
        header = file.read(int.from_bytes(start[8:], "little"))
    pattern = rb"\{'descr': '([<>|][iufb][1248])', 'fortran_order': False, 'shape': \(((?:\d{1,9},? ?)+)\), \}\s*"
    found = re.fullmatch(pattern, header)
    if start[:8] != b"\x93NUMPY\x01\x00" or found is None:
        raise ValueError(f"{path.name} is damaged")
    shape = tuple(int(size) for size in found[2].decode().split(",") if size.strip())
    return shape, np.dtype(found[1].decode()), len(start) + len(header)


def _read_slice(path: Path, index: int) -> np.ndarray:
    (count, height, width), kind, start = _layout(path)
    if not 0 <= index < count:
        raise IndexError(index)
    size = height * width
    return np.fromfile(path, kind, size, offset=start + index * size * kind.itemsize).reshape(height, width)
