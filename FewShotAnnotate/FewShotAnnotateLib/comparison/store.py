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

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core import paths
from ..core.errors import InputError
from ..core.lock import take_lock
from ..core.storage import write_json, written
from .design import Trial
from .trial import Contender, Outcome

STORE_VERSION = 1
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)


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
            if resume and paths.is_file(kept):
                if _read(kept) != json.loads(json.dumps(description)):
                    raise InputError("comparison_differs", path=path)
            else:
                if paths.is_used(path):
                    raise InputError("comparison_folder_used", path=path)
                path.mkdir(parents=True, exist_ok=True)
                write_json(kept, description)
            self._lock = _locked(path)
            shutil.rmtree(self.working, ignore_errors=True)
            self.working.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError("output_unwritable", path=path, detail=error.strerror) from None

    @property
    def working(self) -> Path:
        """Folder for what is needed during a trial."""
        return self.path / "working"

    def load(self, contender: Contender, trial: Trial) -> Outcome | None:
        """The outcome of a finished trial, None if there is none, of other settings, or a damaged one."""
        place = self._place(contender, trial)
        try:
            kept = _read(place.with_suffix(".json"))
            if kept["asked"] != _asked(contender, trial):
                return None
            with np.load(place.with_suffix(".npz")) as arrays:
                masks = arrays["masks"]
            counts = np.array(kept["counts"], dtype=np.int64).reshape(len(trial.held_out), -1, 3)
            warnings = tuple(map(str, kept["warnings"]))
            return Outcome(counts, float(kept["start_seconds"]), float(kept["slice_seconds"]), masks, warnings)
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
            write_json(place.with_suffix(".json"), content)
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
    file = (folder / "comparison.lock").open("a+b")
    if not take_lock(file):
        file.close()
        raise InputError("job_busy", path=folder)
    return file


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="ascii"))


def _asked(contender: Contender, trial: Trial) -> Any:
    """As it reads back from JSON."""
    return json.loads(json.dumps({**asdict(contender), **asdict(trial)}))
