"""Slicer's own Fill between slices and Grow from seeds, each run in a process of its own.

They are the alternatives in the Segment Editor. Both come from slicer-core, the same code as in Slicer;
ITK's interpolator can crash a process at its end, so the result is written before that.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measured import run_measured

# The application's thread pool, without which the interpolator may crash at exit.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_THREADER", "Platform")

FILL_BETWEEN_SLICES = "Fill between slices"
GROW_FROM_SEEDS = "Grow from seeds"
PEERS = (FILL_BETWEEN_SLICES, GROW_FROM_SEEDS)


@dataclass(frozen=True)
class PeerResult:
    """Labels [n, h, w] a peer gave, its seconds, and the most memory its process took in MiB."""

    labels: np.ndarray
    seconds: float
    peak_mib: float


def run_peer(name: str, image: np.ndarray, labels: np.ndarray, indices: list[int]) -> PeerResult:
    """Run a peer on slices [n, h, w] of which `indices` are labelled; the others in `labels` are ignored."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seeds = np.zeros(labels.shape, dtype=np.int16)
        seeds[indices] = labels[indices]
        np.savez(folder / "input.npz", image=image, seeds=seeds, indices=indices)
        # The exit code is ignored: a crash after the result was written does not matter.
        _, peak, _ = run_measured([sys.executable, __file__, name, str(folder)])
        if not (folder / "output.npz").exists():
            raise RuntimeError(f"{name} gave no result")
        output = np.load(folder / "output.npz")
        return PeerResult(output["labels"], float(output["seconds"]), peak)


def _to_vtk(array: np.ndarray) -> object:
    import slicer
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).reshape(-1), deep=True))
    return image


def _fill_between_slices(image: np.ndarray, seeds: np.ndarray, indices: np.ndarray) -> object:
    import slicer

    interpolator = slicer.vtkITKMorphologicalContourInterpolator()
    interpolator.SetInputData(_to_vtk(seeds))
    interpolator.Update()
    return interpolator.GetOutput()


def _grow_from_seeds(image: np.ndarray, seeds: np.ndarray, indices: np.ndarray) -> object:
    """Unlabelled pixels of labelled slices are seeds of a background segment, as its manual tells users to paint."""
    import slicer

    background = int(seeds.max()) + 1
    seeds[indices] = np.where(seeds[indices] == 0, background, seeds[indices])
    grow = slicer.vtkImageGrowCutSegment()
    grow.SetIntensityVolume(_to_vtk(image.astype(np.float32)))
    grow.SetSeedLabelVolume(_to_vtk(seeds))
    grow.Update()
    return grow.GetOutput()


def _main() -> None:
    import slicer  # noqa: F401  (not part of the time measured)
    from vtk.util.numpy_support import vtk_to_numpy

    name, folder = sys.argv[1], Path(sys.argv[2])
    given = np.load(folder / "input.npz")
    image, seeds, indices = given["image"], given["seeds"], given["indices"]
    method = {FILL_BETWEEN_SLICES: _fill_between_slices, GROW_FROM_SEEDS: _grow_from_seeds}[name]
    began = time.perf_counter()
    output = method(image, seeds, indices)
    seconds = time.perf_counter() - began
    result = vtk_to_numpy(output.GetPointData().GetScalars()).reshape(seeds.shape).copy()  # type: ignore[attr-defined]
    if name == GROW_FROM_SEEDS:
        result[result == seeds.max()] = 0
    np.savez(folder / "output.npz", labels=result.astype(np.int16), seconds=seconds)


if __name__ == "__main__":
    _main()
