"""JobFolder: the contract between host and worker, all of it files.

==============  ===========================================================================================
job.json        job, grid, axis, labelled slices, labels, and a fingerprint of the input
image.npy       [n, h, w] slices along the job's axis, the volume's own dtype
support.npy     [m, h, w] label values of the labelled slices
result.npy      [n, h, w] label values, written slice by slice
confidence.npy  [n, h, w] uint8, 0..255 for 0..1, written slice by slice
finished.npy    [n] uint8, a slice of both is: 0 not yet written, 1 a draft, 2 final
checksums.npy   [n] uint32, CRC-32 of both as they were written; folders of version 0.1.0 have none
expected.json   the Dice that the engine expects of its result, once it said so
events.jsonl    one event a line, appended
cancel          its presence asks the worker to stop
worker.lock     held by the one worker of this folder
worker.log      what the worker printed to stderr
==============  ===========================================================================================

A folder is made under worker.lock, so of two programs that make the same one the second is refused. job.json is
written as job.json.partial first and renamed last: a folder with only the latter is left over from a process that
died while it made the folder, and is made anew.

A final slice is written over its draft and flagged after that. If the worker dies in between, its checksum does not
match when the job is taken up again, and the slice is done anew.

All room is taken when the folder is made, so a full disk is found before the work and not in the middle of it.
Written files are read and written by plain input and output, never mapped, so they can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core import paths
from ..core.array_file import allocate, layout_of, read_parts
from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.event import Event, Expected, SliceDone
from ..core.expected import ExpectedDice
from ..core.job import JOB_VERSION, Job
from ..core.lock import new_folder
from ..core.reading import read_json
from ..core.storage import write_json
from ..core.support import Support
from ..core.volume import Geometry, Volume, present_values
from .work_folder import LOCK, WorkFolder

# Exit code of a worker that cannot write its events, EX_IOERR of sysexits.h: only the code is left to say so.
CANNOT_WRITE = 74
CONFIDENCE_SCALE = 255.0
_CHECKSUMS = "checksums"
_ARRAYS = ("image", "support", "result", "confidence", "finished")
_PARTIAL = "job.json.partial"
# What a folder may hold whose making was interrupted.
_MADE_FIRST = {_PARTIAL, LOCK, "events.jsonl", *(f"{name}.npy" for name in (*_ARRAYS, _CHECKSUMS))}
# Nonsense in a JSON file, by what it makes Python raise.
_NONSENSE = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError)


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
        self.has_checksums = bool(description.get("checksums", False))
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
        if paths.is_used(path) and not _is_torn(path):
            raise InputError("job_folder_used", path=path)
        description = {
            "job": job.to_json(),
            "grid": volume.geometry.to_json(),
            "axis": support.axis.index,
            "labelled": list(support.indices),
            "labels": list(support.labels),
            "known": support.known.tolist(),
            "fingerprint": fingerprint(volume, support),
            "checksums": True,
        }
        try:
            with new_folder(path, LOCK) as alone:
                if not alone:
                    raise InputError("job_busy", path=path)
                if not _is_torn(path):
                    raise InputError("job_folder_used", path=path)
                _make(path, description, volume, support)
        except OSError as error:
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
            folder = cls(path, _read_description(path))
        except _NONSENSE as error:
            if isinstance(error, InputError) and error.code == "job_folder_unreadable":
                raise
            raise InputError("job_folder_unreadable", path=path, detail="job.json is damaged") from None
        for name in (*_ARRAYS, *([_CHECKSUMS] if folder.has_checksums else [])):
            folder._require_array(name)
        return folder

    @classmethod
    def reopen(cls, path: str | Path) -> JobFolder:
        """A job folder to go on with: what was damaged since it was written is found.

        Takes as long as reading all of it. Finished slices that are not as they were written count as not done.

        Raises
        ------
        InputError
            As `open`; image or labels are not those that the job was made with; a worker is at work in it.
        """
        folder = cls.open(path)
        folder.require_own_files()
        with folder.exclusive():
            if fingerprint(folder.read_volume(), folder.read_support()) != folder.fingerprint:
                raise folder._unreadable("its image or labels are damaged")
            folder._reset_damaged()
        return folder

    def _require_array(self, name: str) -> None:
        """Raise `InputError` if an array is not what job.json says, or cut short."""
        try:
            layout = layout_of(self.path / f"{name}.npy")
        except FileNotFoundError:
            raise self._unreadable(f"{name}.npy is missing") from None
        except OSError as error:
            raise self._unreadable(f"{name}.npy: {error.strerror}") from None
        except ValueError as error:
            raise self._unreadable(error) from None
        shapes = {"support": (len(self.indices), *self.shape[1:]), "finished": self.shape[:1]}
        types = {"image": "iuf", "finished": "u1", "confidence": "u1", _CHECKSUMS: "u4"}
        shape = shapes.get(name, self.shape[:1] if name == _CHECKSUMS else self.shape)
        allowed = types.get(name, "u")
        fits = layout.dtype.kind in allowed if allowed.isalpha() else layout.dtype.str[1:] == allowed
        if layout.shape != shape or not fits:
            raise self._unreadable(f"{name}.npy does not fit job.json")

    def _unreadable(self, detail: object) -> InputError:
        return InputError("job_folder_unreadable", path=self.path, detail=detail)

    @staticmethod
    def holds_job(path: str | Path) -> bool:
        """Whether a complete job folder was made there."""
        return paths.is_file(Path(path) / "job.json")

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
        return Support(self.axis, self.indices, read_parts(self.path / "support.npy"), self.labels, self.known)

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
        return read_parts(self.path / "finished.npy")

    def expected(self) -> tuple[ExpectedDice, ...]:
        """What the engine said last of the Dice to expect; empty if it said nothing, or if the file is damaged."""
        try:
            entries = read_json(self.path / "expected.json")
            expected = tuple(ExpectedDice.from_json(entry) for entry in entries)
        except (OSError, *_NONSENSE):
            return ()
        return expected if {one.label for one in expected} <= set(self.labels) else ()

    def write_expected(self, expected: Sequence[ExpectedDice]) -> None:
        """Keep what the engine said; a reader sees the old or the new, never a part."""
        write_json(self.path / "expected.json", [one.to_json() for one in expected])

    def result_slice(self, index: int) -> np.ndarray:
        """Label values [h, w] of a finished slice."""
        return read_parts(self.path / "result.npy", index, 1)[0]

    def confidence_slice(self, index: int) -> np.ndarray:
        """Confidence 0..1 of a finished slice, float32 [h, w]."""
        return self._scaled_confidence(index).astype(np.float32) / np.float32(CONFIDENCE_SCALE)

    def _scaled_confidence(self, index: int) -> np.ndarray:
        return read_parts(self.path / "confidence.npy", index, 1)[0]

    def _reset_damaged(self) -> None:
        """Flag finished slices as not done that are not as they were written, or hold values that are no label."""
        flags = self._flags()
        checksums = read_parts(self.path / f"{_CHECKSUMS}.npy") if self.has_checksums else None
        damaged = [
            index
            for index in map(int, np.flatnonzero(self.finished()))
            if not self._is_sound(index, None if checksums is None else int(checksums[index]))
        ]
        if damaged:
            flags[damaged] = Flag.NOT_YET
            path = self.path / "finished.npy"
            start = layout_of(path).start
            try:
                with path.open("r+b") as file:
                    file.seek(start)
                    file.write(flags.tobytes())
            except OSError as error:
                raise InputError("output_unwritable", path=self.path, detail=error.strerror) from None

    def _is_sound(self, index: int, checksum: int | None) -> bool:
        labels = self.result_slice(index)
        if checksum is None:  # a folder of an earlier version
            return set(present_values(labels[None])) <= set(self.labels)
        return _checksum(labels, self._scaled_confidence(index)) == checksum

    def assemble(self, support: Support | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Labelled and finished slices together.

        Parameters
        ----------
        support : Support, optional
            The labelled slices as the user has them, which come out bit for bit; default: the folder's copy.

        Returns
        -------
        labels : uint8 or uint16 ndarray [k, j, i]
            0 on slices that are neither.
        confidence : float32 ndarray [k, j, i]
            1 on labelled slices, 0 on slices that are neither.
        """
        support = support or self.read_support()
        labels = np.zeros(self.shape, dtype=layout_of(self.path / "result.npy").dtype)
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
        names = ["result", "confidence", *([_CHECKSUMS] if folder.has_checksums else []), "finished"]
        for name in names:
            path = folder.path / f"{name}.npy"
            layout = layout_of(path)
            self._files[name] = (path.open("r+b", buffering=0), layout.dtype, layout.start, layout.part_bytes)

    def write(self, index: int, labels: np.ndarray, confidence: np.ndarray, draft: bool = False) -> None:
        """Write one slice: label values [h, w] and confidence 0..1 [h, w]."""
        values = labels.astype(self._files["result"][1])
        scaled = np.rint(np.clip(confidence, 0.0, 1.0) * CONFIDENCE_SCALE).astype(np.uint8)
        arrays = {
            "result": values,
            "confidence": scaled,
            _CHECKSUMS: np.array([_checksum(values, scaled)]),
            "finished": np.array([Flag.DRAFT if draft else Flag.FINAL]),
        }
        for name, (file, kind, start, size) in self._files.items():
            data = memoryview(np.ascontiguousarray(arrays[name].astype(kind))).cast("B")
            if len(data) != size:
                raise ValueError(f"slice {index}: {arrays[name].shape} does not fit {name}.npy")
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
    digest.update(json.dumps([volume.geometry.to_json(), volume.array.dtype.name]).encode())
    for part in volume.array:
        digest.update(np.ascontiguousarray(part).data)
    described = [support.axis.index, support.indices, support.labels, support.masks.dtype.name]
    digest.update(json.dumps(described).encode())
    digest.update(np.ascontiguousarray(support.masks).data)
    digest.update(np.ascontiguousarray(support.known).data)
    return digest.hexdigest()


def _ascending(numbers: tuple[int, ...], least: int, most: int) -> bool:
    """Whether there are numbers, each larger than the one before, all within limits."""
    return list(numbers) == sorted(set(numbers)) and bool(numbers) and numbers[0] >= least and numbers[-1] <= most


def _checksum(labels: np.ndarray, confidence: np.ndarray) -> int:
    """CRC-32 of a slice as it lies in result.npy and confidence.npy."""
    return zlib.crc32(np.ascontiguousarray(confidence).data, zlib.crc32(np.ascontiguousarray(labels).data))


def _is_torn(path: Path) -> bool:
    """Whether a folder holds nothing, or only what its interrupted making left."""
    try:
        names = {entry.name for entry in path.iterdir()} - {LOCK}
    except OSError:
        return False
    return not names or (_PARTIAL in names and names <= _MADE_FIRST)


def _make(path: Path, description: dict[str, Any], volume: Volume, support: Support) -> None:
    """Fill an empty or torn folder; nothing is left if that fails."""
    slices = support.axis.slices(volume.array)
    labels = np.dtype(np.uint8 if max(support.labels) <= 255 else np.uint16)
    try:
        (path / _PARTIAL).write_text(json.dumps(description), encoding="ascii")
        np.save(path / "image.npy", np.ascontiguousarray(slices))
        np.save(path / "support.npy", support.masks)
        allocate(path / "result.npy", slices.shape, labels)
        allocate(path / "confidence.npy", slices.shape, np.dtype(np.uint8))
        allocate(path / "finished.npy", slices.shape[:1], np.dtype(np.uint8))
        allocate(path / f"{_CHECKSUMS}.npy", slices.shape[:1], np.dtype(np.uint32))
        (path / "events.jsonl").write_bytes(b"")
        (path / _PARTIAL).replace(path / "job.json")
    except BaseException:
        for name in _MADE_FIRST - {LOCK}:
            with contextlib.suppress(OSError):
                (path / name).unlink()
        raise


def _read_description(path: Path) -> dict[str, Any]:
    """What job.json says, of this version.

    Raises
    ------
    InputError
        It is missing, damaged, or of another version.
    """

    def unreadable(detail: str) -> InputError:
        return InputError("job_folder_unreadable", path=path, detail=detail)

    try:
        description = read_json(path / "job.json")
        version = description["job"]["version"]
    except FileNotFoundError:
        raise unreadable("job.json is missing") from None
    except OSError as error:
        raise unreadable(f"job.json: {error.strerror}") from None
    except _NONSENSE:
        raise unreadable("job.json is damaged") from None
    if version != JOB_VERSION:
        raise unreadable(f"another version of this program made it: job version {version}, not {JOB_VERSION}")
    return dict(description)
