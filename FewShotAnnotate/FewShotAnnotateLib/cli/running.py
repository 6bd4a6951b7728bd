"""Runs of the command line: every layer in a worker, progress shown, the results together."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import paths
from ..core.errors import InputError
from ..core.event import Cancelled, Event, Failed, Finished
from ..core.expected import ExpectedDice
from ..core.lock import new_folder
from ..core.temporary import TemporaryFolder
from ..core.volume import LabelMap, Volume
from ..run.fill import PlannedRun, open_or_create, run_in_worker
from ..run.folder import JobFolder
from ..run.legs import Whole, legs
from ..run.work_folder import LOCK
from .progress import as_part_of, open_reporter


@dataclass(frozen=True)
class Result:
    """What all runs gave together.

    Attributes
    ----------
    layers : list of LabelMap
    confidence : float32 ndarray [k, j, i]
    expected : list of (str, ExpectedDice)
        With the names of the segments, where the engine says so.
    """

    layers: list[LabelMap]
    confidence: np.ndarray
    expected: list[tuple[str, ExpectedDice]]


class Unfinished(Exception):
    """A run ended before its last slice."""

    def __init__(self, ending: Event, kept: Path | None) -> None:
        self.ending = ending
        self.kept = kept


def run_all(
    runs: Sequence[PlannedRun],
    layers: Sequence[LabelMap],
    volume: Volume,
    place: Path,
    options: argparse.Namespace,
) -> Result:
    """Run every layer; layers without labels on the labelled slices come out empty."""
    filled = [layer.with_array(np.zeros_like(layer.array)) for layer in layers]
    confidence = np.ones(volume.geometry.shape, dtype=np.float32)
    expected = []
    folders = _folders(runs, volume, place, len(layers) > 1, options.resume)
    ahead, whole = legs(runs[0].job.engine, len(runs)), Whole(len(runs))
    with open_reporter(options.progress) as report:
        for leg in ahead:
            tell = as_part_of(whole, leg, leg is ahead[-1], report)
            folder = folders[leg.layer]
            ending = run_in_worker(folder, tell, drafts_only=leg.drafts_only)
            if leg is not ahead[-1] and folder.cancel_requested():  # too late for its worker, but not for the next
                ending = Cancelled()
            if not isinstance(ending, Finished):
                raise Unfinished(ending, options.job_dir)
    for run, folder in zip(runs, folders, strict=True):
        labels, sureness = folder.assemble(run.support)
        filled[run.layer] = layers[run.layer].with_array(labels)
        np.minimum(confidence, sureness, out=confidence)
        names = {segment.value: segment.name for segment in layers[run.layer].segments}
        expected += [(names[one.label], one) for one in folder.expected()]
    return Result(filled, confidence, expected)


def _folders(runs: Sequence[PlannedRun], volume: Volume, place: Path, layered: bool, resume: bool) -> list[JobFolder]:
    """The job folder of each run: `place`, or one below it for each layer, made while no other program does."""
    if not layered:
        return [open_or_create(place, runs[0], volume, resume)]
    if not resume and _holds_anything(place):
        raise InputError("job_folder_used", path=place)
    made: list[JobFolder] = []
    try:
        with new_folder(place, LOCK) as alone:
            if not alone:
                raise InputError("job_busy", path=place)
            if not resume and _holds_anything(place):
                raise InputError("job_folder_used", path=place)
            folders = []
            try:
                for run in runs:
                    path = place / f"layer{run.layer}"
                    was_there = paths.is_occupied(path)
                    folders.append(open_or_create(path, run, volume, resume))
                    made += [] if was_there else folders[-1:]
            except BaseException:
                for folder in made:
                    folder.delete()
                raise
    except OSError as error:
        raise InputError("output_unwritable", path=place, detail=error.strerror) from None
    return folders


def _holds_anything(place: Path) -> bool:
    """Whether there is more than the lock of an interrupted start."""
    if not paths.is_folder(place):
        return paths.is_occupied(place)
    return any(entry.name != LOCK for entry in paths.entries(place))


@contextmanager
def job_place(kept: Path | None) -> Iterator[Path]:
    """The folder for the jobs: the user's, which stays, or a temporary one."""
    if kept:
        paths.require_nameable(kept)
        yield kept
        return
    try:
        temporary = TemporaryFolder()
    except OSError as error:
        place = os.environ.get("TMPDIR", "the folder for temporary files")
        raise InputError("output_unwritable", path=place, detail=error.strerror) from None
    with temporary as folder:
        yield folder / "job"


def sentence(unfinished: Unfinished) -> str:
    rest = f" Continue it with --job-dir {unfinished.kept} --resume." if unfinished.kept else ""
    if isinstance(unfinished.ending, Failed):
        return unfinished.ending.reason + ("" if unfinished.ending.code else rest)
    return f"cancelled; no output was written.{rest}"
