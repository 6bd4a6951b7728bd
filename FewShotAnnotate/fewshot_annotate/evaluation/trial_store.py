"""TrialStore: finished trials on disk, so that a comparison can be resumed.

===========================  ==============================================================================
comparison.json              description of the case with a fingerprint of the input
runs/ENGINE/TRIAL.json       engine settings, trial, voxel counts and seconds; written last, atomically
runs/ENGINE/TRIAL.npz        predicted label values of the held-out slices
volumes/DIGEST/              in a study, the same files for each volume
working/                     run folder of the current trial
comparison.lock              held by the one process that runs the comparison
===========================  ==============================================================================
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np

from ..core import paths
from ..core.disk import unwritable_error
from ..core.errors import InputError, Message
from ..core.file_transaction import atomic_stream
from ..core.locks import locked_folder, open_locked
from ..core.reading import DamagedContentError, decoding_archive, open_regular_file, read_json
from ..core.storage import write_json
from ..core.temporary import HIDDEN_PREFIX, remove_path
from ..io.array_file import npy_from_bytes
from ..jobs.planning import EngineSettings
from .case import ComparisonCase
from .design import Trial
from .trials import TrialResult, count_voxels

STORE_VERSION = 1
_LOCK = "comparison.lock"
_MAX_SECONDS = 1e9
_MAX_HEADER_BYTES = 1024


class TrialStore:
    """The folder of one comparison, as a context manager that removes temporary files at the end.

    Parameters
    ----------
    path : Path
    description : mapping
        What all trials have in common, as plain data for JSON.
    resume : bool
        Whether the folder may hold finished trials of the same comparison.

    Raises
    ------
    InputError
        The folder is used and `resume` is false, it holds another comparison, another process uses it, or it
        cannot be written.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], resume: bool) -> None:
        paths.require_nameable(path)
        self.path = path
        stored = path / "comparison.json"
        self._created_parents = [above for above in (path, *path.parents) if not paths.lexists(above)]
        self._created = False
        description = {"version": STORE_VERSION, **description}
        try:
            if not (resume and paths.is_file(stored)):
                self._create(description)
                self._created = True
            self._lock = _locked(path)
            try:
                if _description(path) != json.loads(json.dumps(description)):
                    raise InputError("comparison_differs", path=path)
                self._require_no_links()
                remove_path(self.working)
                self.working.mkdir()
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            if self._created:
                self._undo()
            raise unwritable_error(path, error) from None

    def _create(self, description: Mapping[str, Any]) -> None:
        """Create the folder and its description under its lock."""
        if paths.would_be_overwritten(self.path) and _holds_anything(self.path):
            raise InputError("comparison_folder_used", path=self.path)
        with locked_folder(self.path, _LOCK) as acquired:
            if not acquired:
                raise InputError("job_busy", path=self.path)
            if _holds_anything(self.path):
                raise InputError("comparison_folder_used", path=self.path)
            write_json(self.path / "comparison.json", description)

    def _require_no_links(self) -> None:
        """Raise `InputError` if results would be written elsewhere, through a link in a folder from others."""
        parents = [self.path / name for name in ("runs", "volumes")]
        for folder in (*parents, *(entry for parent in parents for entry in paths.entries(parent))):
            if paths.is_link(folder):
                raise InputError("output_unwritable", path=folder, detail=Message("is_link"))

    @property
    def working(self) -> Path:
        """Folder for temporary files of a trial."""
        return self.path / "working"

    def load(self, case: ComparisonCase, settings: EngineSettings, trial: Trial) -> TrialResult | None:
        """Result of a finished trial; None if there is none, if it is damaged or has other settings.

        Files may have been changed, so voxels are counted again and times are checked.
        """
        result_path = self._result_path(settings, trial)
        try:
            with decoding_archive():
                return self._load(case, settings, trial, result_path)
        except (OSError, DamagedContentError):
            return None

    def _load(
        self, case: ComparisonCase, settings: EngineSettings, trial: Trial, result_path: Path
    ) -> TrialResult | None:
        layers, (height, width) = len(case.supports), case.supports[0].masks.shape[1:]
        stored = dict(read_json(result_path.with_suffix(".json")))
        checksum = stored.pop("checksum", None)  # version 0.1.0 wrote none
        if stored["asked"] != _settings_of(settings, trial) or checksum not in (None, _checksum(stored)):
            return None
        masks = _read_masks(result_path.with_suffix(".npz"), (layers, len(trial.held_out), height, width))
        counts = count_voxels(case, trial.held_out, masks)
        seconds = float(stored["start_seconds"]), float(stored["slice_seconds"])
        if stored["counts"] != counts.tolist() or not all(0 <= duration <= _MAX_SECONDS for duration in seconds):
            return None
        return TrialResult(counts, *seconds, masks, tuple(map(str, stored["warnings"])))

    def save(self, settings: EngineSettings, trial: Trial, result: TrialResult) -> None:
        """Write the result of a trial."""
        result_path = self._result_path(settings, trial)
        try:
            result_path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_stream(result_path.with_suffix(".npz")) as stream:
                np.savez_compressed(stream, masks=np.ascontiguousarray(result.masks))
            content = {
                "asked": _settings_of(settings, trial),
                "counts": result.counts.tolist(),
                "start_seconds": result.start_seconds,
                "slice_seconds": result.slice_seconds,
                "warnings": list(result.warnings),
            }
            write_json(result_path.with_suffix(".json"), {**content, "checksum": _checksum(content)})
        except OSError as error:
            raise unwritable_error(self.path, error) from None

    def __enter__(self) -> TrialStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        remove_path(self.working)
        if self._created and kind is not None and issubclass(kind, InputError):
            self._undo()
        self._lock.close()

    def _undo(self) -> None:
        """Restore the folder to its earlier state, unless a trial is finished."""
        if any(self.path.rglob("*.npz")):
            return
        for name in ("runs", "volumes"):  # the stores of a study's volumes are among them
            shutil.rmtree(self.path / name, ignore_errors=True)
        with contextlib.suppress(OSError):  # files that remain are harmless
            for name in ("comparison.json", _LOCK):
                (self.path / name).unlink(missing_ok=True)
            for folder in self._created_parents:
                folder.rmdir()

    def _result_path(self, settings: EngineSettings, trial: Trial) -> Path:
        return self.path / "runs" / settings.engine / trial.name


def _locked(folder: Path) -> IO[bytes]:
    """Lock file of the folder; the lock is released when it is closed or the process ends."""
    file = open_locked(folder / _LOCK)
    if file is None:
        raise InputError("job_busy", path=folder)
    return file


def _holds_anything(folder: Path) -> bool:
    """Whether a folder holds more than an interrupted creation leaves."""
    if not paths.is_folder(folder):
        return True
    return any(entry.name != _LOCK and not entry.name.startswith(HIDDEN_PREFIX) for entry in folder.iterdir())


def _description(folder: Path) -> Any:
    try:
        return read_json(folder / "comparison.json")
    except (OSError, ValueError):
        raise InputError("comparison_damaged", path=folder) from None


def _settings_of(settings: EngineSettings, trial: Trial) -> Any:
    """Settings of a trial, as they read back from JSON."""
    return json.loads(json.dumps({**asdict(settings), **asdict(trial)}))


def _checksum(content: Mapping[str, Any]) -> int:
    """CRC-32 of the content of a trial's JSON file."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode("ascii"))


def _read_masks(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Label values of a trial, uint16; `ValueError` if the archive holds anything else, before it is unpacked."""
    with open_regular_file(path) as file, ZipFile(file) as archive:
        (entry,) = archive.infolist()
        size = math.prod(shape) * np.dtype(np.uint16).itemsize
        if entry.filename != "masks.npy" or entry.file_size > size + _MAX_HEADER_BYTES:
            raise ValueError("more than the masks")
        if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # others may need any amount of memory
            raise ValueError("unknown method")
        masks = npy_from_bytes(archive.read(entry)).copy()
    if masks.shape != shape or masks.dtype != np.uint16:
        raise ValueError("other masks")
    return masks
