"""Store: finished trials on disk, so that a comparison that was stopped or killed goes on where it was.

===========================  ==============================================================================
comparison.json              what is compared: a fingerprint of the input
runs/ENGINE/TRIAL.json       engine settings, trial, voxel counts and seconds; written last and at once
runs/ENGINE/TRIAL.npz        the label values that the engine gave on the held-out slices
working/                     the job of the moment
comparison.lock              held by the one program that works here
===========================  ==============================================================================
"""

from __future__ import annotations

import io
import json
import math
import shutil
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from ..core import paths
from ..core.errors import InputError
from ..core.lock import lock_file, new_folder
from ..core.reading import open_file, read_json
from ..core.storage import write_json, written
from .case import Case
from .design import Trial
from .trial import Contender, Outcome, counts_of

STORE_VERSION = 1
_LOCK = "comparison.lock"
_MAX_SECONDS = 1e9
_MAX_HEADER_BYTES = 1024
# What damaged JSON, zip and .npy files make their readers raise.
_DAMAGE = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError),
    *(BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, SyntaxError),
)


class Store:
    """The folder of one comparison, for a `with` statement: what only a running comparison needs goes at its end.

    Parameters
    ----------
    path : Path
    description : mapping
        What all trials have in common; plain JSON.
    resume : bool
        Whether the folder may hold finished trials of the same comparison.

    Raises
    ------
    InputError
        The folder is used and `resume` is false, it holds another comparison, another program is at work in it, or
        it cannot be written.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], resume: bool) -> None:
        paths.require_nameable(path)
        self.path = path
        kept = path / "comparison.json"
        description = {"version": STORE_VERSION, **description}
        try:
            if not (resume and paths.is_file(kept)):
                self._begin(description)
            self._lock = _locked(path)
            try:
                if _description(path) != json.loads(json.dumps(description)):
                    raise InputError("comparison_differs", path=path)
                shutil.rmtree(self.working, ignore_errors=True)
                self.working.mkdir(exist_ok=True)
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise InputError("output_unwritable", path=path, detail=error.strerror) from None

    def _begin(self, description: Mapping[str, Any]) -> None:
        """Make the folder and say what is compared in it, while no other program does."""
        if paths.is_used(self.path) and _holds_anything(self.path):
            raise InputError("comparison_folder_used", path=self.path)
        with new_folder(self.path, _LOCK) as alone:
            if not alone:
                raise InputError("job_busy", path=self.path)
            if _holds_anything(self.path):
                raise InputError("comparison_folder_used", path=self.path)
            write_json(self.path / "comparison.json", description)

    @property
    def working(self) -> Path:
        """Folder for what is needed during a trial."""
        return self.path / "working"

    def load(self, case: Case, contender: Contender, trial: Trial) -> Outcome | None:
        """The outcome of a finished trial, None if there is none, of other settings, or a damaged one.

        Nothing in it is taken on trust: voxels are counted again, and figures must be possible ones.
        """
        place = self._place(contender, trial)
        layers, (height, width) = len(case.supports), case.supports[0].masks.shape[1:]
        try:
            kept = dict(read_json(place.with_suffix(".json")))
            checksum = kept.pop("checksum", None)  # version 0.1.0 wrote none
            if kept["asked"] != _asked(contender, trial) or checksum not in (None, _checksum(kept)):
                return None
            masks = _read_masks(place.with_suffix(".npz"), (layers, len(trial.held_out), height, width))
            counts = counts_of(case, trial.held_out, masks)
            seconds = float(kept["start_seconds"]), float(kept["slice_seconds"])
            if kept["counts"] != counts.tolist() or not all(0 <= one <= _MAX_SECONDS for one in seconds):
                return None
            return Outcome(counts, *seconds, masks, tuple(map(str, kept["warnings"])))
        except _DAMAGE:
            return None

    def save(self, contender: Contender, trial: Trial, outcome: Outcome) -> None:
        """Keep an outcome."""
        place = self._place(contender, trial)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with written(place.with_suffix(".npz")) as stream:
                np.savez_compressed(stream, masks=outcome.masks)
            content = {
                "asked": _asked(contender, trial),
                "counts": outcome.counts.tolist(),
                "start_seconds": outcome.start_seconds,
                "slice_seconds": outcome.slice_seconds,
                "warnings": list(outcome.warnings),
            }
            write_json(place.with_suffix(".json"), {**content, "checksum": _checksum(content)})
        except OSError as error:
            raise InputError("output_unwritable", path=self.path, detail=error.strerror) from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.working, ignore_errors=True)
        self._lock.close()

    def _place(self, contender: Contender, trial: Trial) -> Path:
        return self.path / "runs" / contender.engine / trial.name


def _locked(folder: Path) -> IO[bytes]:
    """The folder's lock, held until it is closed or the process ends, however it ends."""
    file = lock_file(folder / _LOCK)
    if file is None:
        raise InputError("job_busy", path=folder)
    return file


def _holds_anything(folder: Path) -> bool:
    """Whether there is more in a folder than the lock that an interrupted beginning left."""
    return not paths.is_folder(folder) or any(entry.name != _LOCK for entry in folder.iterdir())


def _description(folder: Path) -> Any:
    try:
        return read_json(folder / "comparison.json")
    except (OSError, ValueError):
        raise InputError("comparison_damaged", path=folder) from None


def _asked(contender: Contender, trial: Trial) -> Any:
    """As it reads back from JSON."""
    return json.loads(json.dumps({**asdict(contender), **asdict(trial)}))


def _checksum(content: Mapping[str, Any]) -> int:
    """CRC-32 of what a trial's JSON file says."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode("ascii"))


def _read_masks(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Label values of a trial, uint16; `ValueError` unless the archive holds just that, before it is unpacked."""
    with open_file(path) as file, ZipFile(file) as archive:
        (entry,) = archive.infolist()
        size = math.prod(shape) * np.dtype(np.uint16).itemsize
        if entry.filename != "masks.npy" or entry.file_size > size + _MAX_HEADER_BYTES:
            raise ValueError("more than the masks")
        masks: np.ndarray = np.lib.format.read_array(io.BytesIO(archive.read(entry)), allow_pickle=False)
    if masks.shape != shape or masks.dtype != np.uint16:
        raise ValueError("other masks")
    return masks
