"""Methods that the benchmarks compare: our engines as users run them, Slicer's own tools, and two simple ones."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap, Volume, to_image
from fewshot_annotate.engines.base import Engine, label_slice
from fewshot_annotate.engines.registry import engine_class, engine_names
from fewshot_annotate.jobs.filling import Filling
from measured import run_measured
from peers import FILL_BETWEEN_SLICES, GROW_FROM_SEEDS, PEERS, run_peer
from scipy.ndimage import distance_transform_edt

NEAREST_COPY = "nearest copy"
SHAPE_INTERPOLATION = "shape interpolation"
# Alternatives in Slicer; our engines are compared with the best of these.
RIVALS = (NEAREST_COPY, FILL_BETWEEN_SLICES, GROW_FROM_SEEDS)
OTHERS = (*RIVALS, SHAPE_INTERPOLATION)
ENGINES = ("propagate", "adapt")


@dataclass(frozen=True)
class Task:
    """A case of which some slices are labelled: the input of every method.

    Attributes
    ----------
    volume : Volume
    truth : LabelMap
        Labels of the whole case.
    axis : SliceAxis
    indices : tuple of int, ascending
        The labelled slices, empty ones too.
    """

    volume: Volume
    truth: LabelMap
    axis: SliceAxis
    indices: tuple[int, ...]

    @cached_property
    def image(self) -> np.ndarray:
        """Intensities as slices [n, h, w]."""
        return np.ascontiguousarray(self.axis.slices(self.volume.array))

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels [n, h, w] of the labelled slices, 0 on the others."""
        slices = self.axis.slices(self.truth.array)
        labels = np.zeros(slices.shape, dtype=slices.dtype)
        labels[list(self.indices)] = slices[list(self.indices)]
        return labels

    @property
    def painted(self) -> LabelMap:
        """`labels` on the case's own grid."""
        return self.truth.with_array(self.axis.restore(self.labels))


@dataclass(frozen=True, kw_only=True)
class Filled:
    """Result of a method.

    Attributes
    ----------
    labels : integer ndarray, shape [n, h, w]
    seconds : float
        Of the whole command for our engines, start of Python and reading and writing of files included; of the work
        alone for all others.
    peak_mib : float or None
        Most memory that one process took; None where the method has no process of its own.
    first_slice : float or None
        Seconds from the start of the command to its first slice.
    expected : dict
        Label to (Dice, low, high) as the engine expects them over all unlabelled slices it filled.
    confidence : float32 ndarray, shape [n, h, w], or None
    """

    labels: np.ndarray
    seconds: float
    peak_mib: float | None = None
    first_slice: float | None = None
    expected: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    confidence: np.ndarray | None = None


def runnable_engines() -> list[str]:
    """Those of `ENGINES` that this version has and this machine can run."""
    return [name for name in ENGINES if name in engine_names() and engine_class(name).unavailable_reason() is None]


def limited(engine: str, seconds: float) -> str:
    """An engine with a time limit, as a method."""
    return f"{engine}, {seconds:g} s"


def fill(method: str, task: Task, cache: Path | None = None, slices: str = "all") -> Filled:
    """Fill a task by a method of `OTHERS`, an engine, or what `limited` says.

    Parameters
    ----------
    cache : folder, optional
        Results of all but our engines are stored here and reused, with the seconds of the first run.
    slices : 'all' or 'between'
        Slices that engines fill; other methods fill all that they can.

    Raises
    ------
    RuntimeError
        The method gave no result.
    """
    if method in OTHERS:
        return _cached(cache, method, task)
    name, _, limit = method.partition(", ")
    return run_engine(name, task, slices, float(limit.removesuffix(" s")) if limit else None)


class Listener:
    """Called with each line that a command prints; keeps the events that the benchmark needs.

    Attributes
    ----------
    first_slice : float or None
        Seconds from now to the first slice, be it a draft.
    expected : dict
        Label to (Dice, low, high); the last estimate of each label counts.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.first_slice: float | None = None
        self.expected: dict[int, tuple[float, float, float]] = {}

    def __call__(self, line: bytes) -> None:
        match _event(line):
            case {"event": "slice"} if self.first_slice is None:
                self.first_slice = time.perf_counter() - self._began
            case {"event": "expected", "label": label, "dice": dice, "low": low, "high": high}:
                self.expected[label] = (dice, low, high)


def run_engine(name: str, task: Task, slices: str = "all", budget: float | None = None) -> Filled:
    """Run `fewshot-annotate fill` in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image, support = write_inputs(task, folder)
        output, confidence_path = folder / "output.nii", folder / "confidence.nii"
        command = [sys.executable, "-m", "fewshot_annotate.cli", "fill", image, support, "-o", output]
        command += ["--engine", name, "--axis", task.axis.index, "--slices", slices, "--progress", "json"]
        command += ["--labelled-slices", ",".join(map(str, task.indices)), "--confidence", confidence_path]
        command += [] if budget is None else ["--budget", budget]
        listener = Listener()
        seconds, peak, code = run_measured([str(part) for part in command], listener)
        if code:
            raise RuntimeError(f"fewshot-annotate fill --engine {name} ended with code {code}")
        labels, confidence = (task.axis.slices(_read(path)) for path in (output, confidence_path))
    return Filled(
        labels=labels,
        seconds=seconds,
        peak_mib=peak,
        first_slice=listener.first_slice,
        expected=listener.expected,
        confidence=confidence,
    )


def run_in_process(name: str, task: Task) -> np.ndarray:
    """Labels [n, h, w] by an engine in this process, between the labelled slices only: quick, for many runs."""
    support = Support.from_label_map(task.painted, task.axis, task.indices)
    return fill_between(engine_class(name)(), task.volume, support, task.labels)[0]


def fill_between(
    engine: Engine, volume: Volume, support: Support, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A copy of labels [n, h, w] with the slices between labelled ones filled by an engine, and its confidence."""
    result, confidence = labels.copy(), np.ones(labels.shape, dtype=np.float32)
    for index, probabilities in Filling(
        engine, volume, support, support.unlabelled(support.labelled_range())
    ).results():
        result[index], confidence[index] = label_slice(probabilities, support.labels)
    return result, confidence


def write_inputs(task: Task, folder: Path) -> tuple[Path, Path]:
    """Image and painted labels as uncompressed files; their paths."""
    paths = folder / "image.nrrd", folder / "support.nrrd"
    for path, array in zip(paths, (task.volume.array, task.painted.array), strict=True):
        sitk.WriteImage(to_image(array, task.volume.geometry), str(path), useCompression=False)
    return paths


def nearest_copy(image: np.ndarray, labels: np.ndarray, indices: list[int]) -> np.ndarray:
    """The nearest labelled slice, the lower one of two. Arrays are slices [n, h, w]."""
    distances = np.abs(np.array(indices)[:, None] - np.arange(len(labels)))
    return labels[np.array(indices)[distances.argmin(axis=0)]]


def shape_interpolation(image: np.ndarray, labels: np.ndarray, indices: list[int]) -> np.ndarray:
    """Signed distances to each outline, blended (Raya & Udupa 1990). A label on one side shrinks until midway."""
    result = nearest_copy(image, labels, indices)
    for before, after in pairwise(indices):
        inner = range(before + 1, after)
        best = np.zeros((len(inner), *labels.shape[1:]), dtype=np.float32)
        result[before + 1 : after] = 0
        for value in np.union1d(labels[before], labels[after]):
            if value == 0 or not inner:
                continue
            start, end = _signed_distance(labels[before] == value), _signed_distance(labels[after] == value)
            start = np.full_like(end, -end.max()) if start is None and end is not None else start
            end = np.full_like(start, -start.max()) if end is None and start is not None else end
            for number, index in enumerate(inner):
                share = (index - before) / (after - before)
                blend = (1 - share) * start + share * end
                wins = blend > best[number]
                best[number][wins] = blend[wins]
                result[index][wins] = value
    return result


def _signed_distance(mask: np.ndarray) -> np.ndarray | None:
    """Pixels to the outline, positive inside; None for an empty mask."""
    if not mask.any():
        return None
    outside = distance_transform_edt(~mask) if not mask.all() else np.zeros(mask.shape)
    return np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - outside).astype(np.float32)


_SIMPLE: dict[str, Callable[[np.ndarray, np.ndarray, list[int]], np.ndarray]] = {
    NEAREST_COPY: nearest_copy,
    SHAPE_INTERPOLATION: shape_interpolation,
}


def _run_other(method: str, task: Task) -> Filled:
    indices = list(task.indices)
    if method in PEERS:
        peer = run_peer(method, task.image, task.labels, indices)
        labels, seconds, peak = peer.labels, peer.seconds, peer.peak_mib
    else:
        began = time.perf_counter()
        labels, peak = _SIMPLE[method](task.image, task.labels, indices), None
        seconds = time.perf_counter() - began
    labels[indices] = task.labels[indices]
    return Filled(labels=labels, seconds=seconds, peak_mib=peak)


def _cached(cache: Path | None, method: str, task: Task) -> Filled:
    """`_run_other`, or what it gave for the same image, labels and labelled slices before."""
    if cache is None:
        return _run_other(method, task)
    kept = cache / f"{_digest(method, task)}.npz"
    if kept.exists():
        with np.load(kept) as found:
            peak = float(found["peak_mib"])
            return Filled(
                labels=found["labels"], seconds=float(found["seconds"]), peak_mib=None if np.isnan(peak) else peak
            )
    filled = _run_other(method, task)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        peak = np.nan if filled.peak_mib is None else filled.peak_mib
        np.savez_compressed(file, labels=filled.labels, seconds=filled.seconds, peak_mib=peak)
    unfinished.replace(kept)
    return filled


def _digest(method: str, task: Task) -> str:
    digest = hashlib.sha256(f"{method} {task.indices}".encode())
    for array in (task.image, task.labels[list(task.indices)]):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array)
    return digest.hexdigest()[:32]


def _event(line: bytes) -> dict:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
