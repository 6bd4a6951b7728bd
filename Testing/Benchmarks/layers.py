"""Memory for many segments in layers, as a table: reading, filling, and export to DICOM.

    python Testing/Benchmarks/layers.py [--size 400 512 512] [--segments 60] [--kinds overlapping]

Ellipsoids of random sizes, either all through the same voxels, so that each needs a layer of its own, or in a few
layers; and boxes that each fill most of the volume. Every 20th slice is labelled for the fill, which fills three
slices. Each row is a process of its own; its peak is the largest resident size of it or of one that it started.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fewshot_annotate.core.sparse_array import sparse_zeros
from fewshot_annotate.core.volume import Geometry, LabelMap, default_segment
from fewshot_annotate.io.files import write_label_maps
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parents[1])]

from support.synthetic_dicom import write_ct_series

_RUN = "import sys; from fewshot_annotate.cli import main; sys.exit(main())"
_READ = "import sys; from fewshot_annotate.io.files import read_label_maps; print(len(read_label_maps(sys.argv[1])))"
_FILL = (
    "fill {folder}/series {folder}/support.seg.nrrd -o {folder}/filled.seg.nrrd --axis 0 --engine propagate"
    " --slices {first}:{stop} --progress none"
)
_EXPORT = (
    "export {folder}/whole.seg.nrrd --to dicom-seg --reference {folder}/series -o {folder}/filled.dcm --default-code"
)
LABELLED_STEP = 20
FEW_LAYERS = 3


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs=3, type=int, default=(400, 512, 512), metavar=("SLICES", "ROWS", "COLUMNS"))
    parser.add_argument("--segments", type=int, default=60)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="which sets of segments")
    options = parser.parse_args()
    grid = Geometry(tuple(options.size), (0.8, 0.8, 1.0))
    table = Table("segments", "step", "seconds", "peak MiB", "exit code")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image = np.random.default_rng(0).normal(0, 50, grid.shape[1:]).astype(np.int16)
        write_ct_series(folder / "series", grid, np.broadcast_to(image, grid.shape))
        for kind in options.kinds:
            name = kind.format(FEW_LAYERS)
            making = multiprocessing.get_context("fork").Process(
                target=make, args=(folder, kind, grid, options.segments)
            )
            making.start()  # what this process holds would count as the peak of those that it starts
            making.join()
            start = grid.shape[0] // 2 // LABELLED_STEP * LABELLED_STEP
            for step, code, arguments in (
                ("read", _READ, f"{folder}/whole.seg.nrrd"),
                ("fill", _RUN, _FILL.format(folder=folder, first=start + 1, stop=start + 4)),
                ("export to DICOM SEG", _RUN, _EXPORT.format(folder=folder)),
            ):
                seconds, peak, status = measured(code, arguments.split())
                print(f"{name}: {step} {peak:.0f} MiB ({seconds:.0f} s)", file=sys.stderr)
                table.add_row(f"{options.segments} {name}", step, f"{seconds:.0f}", f"{peak:.0f}", str(status))
            for made in ("filled.seg.nrrd", "filled.dcm"):
                (folder / made).unlink(missing_ok=True)
    Console().print(table)
    return 0


def make(folder: Path, kind: str, grid: Geometry, segments: int) -> None:
    """Write the segments, and those of the labelled slices."""
    layers = KINDS[kind](grid, segments)
    write_label_maps(folder / "whole.seg.nrrd", layers)
    write_label_maps(folder / "support.seg.nrrd", [on_labelled_slices(layer) for layer in layers])


def ellipsoids(grid: Geometry, segments: int, layers: int) -> list[LabelMap]:
    """Label maps of ellipsoids: one each around the middle, or several in columns side by side."""
    random = np.random.default_rng(1)
    size = np.array(grid.shape)
    arrays = [sparse_zeros(grid.shape, np.uint8) for _ in range(layers)]
    values: list[list[int]] = [[] for _ in range(layers)]
    columns = -(-segments // layers)
    for number in range(segments):
        layer, column = number % layers, number // layers
        centre, radius = size / 2 + random.uniform(-0.05, 0.05, 3) * size, size * random.uniform(0.1, 0.25, 3)
        if columns > 1:
            centre[2], radius[2] = size[2] * (column + 0.5) / columns, size[2] * 0.45 / columns
        value = column + 1
        low, high = np.maximum(0, np.floor(centre - radius)).astype(int), np.ceil(centre + radius).astype(int)
        part = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        axes = np.ogrid[part]
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius, strict=True)) < 1
        arrays[layer][part][inside[tuple(slice(0, n) for n in arrays[layer][part].shape)]] = value
        values[layer].append(value)
    return [
        LabelMap(array, grid, tuple(map(default_segment, own))) for array, own in zip(arrays, values, strict=True)
    ]


def boxes(grid: Geometry, segments: int) -> list[LabelMap]:
    """A layer for each of many boxes, each of which fills most of the volume."""
    arrays = [sparse_zeros(grid.shape, np.uint8) for _ in range(segments)]
    for number, array in enumerate(arrays):
        array[2:-2, 2 : -2 - number, 2:-2] = 1
    return [LabelMap(array, grid, (default_segment(1),)) for array in arrays]


def on_labelled_slices(layer: LabelMap) -> LabelMap:
    """The layer with labels on every `LABELLED_STEP`-th slice only."""
    array = sparse_zeros(layer.array.shape, layer.array.dtype)
    array[::LABELLED_STEP] = layer.array[::LABELLED_STEP]
    return layer.with_array(array)


KINDS = {
    "overlapping": lambda grid, segments: ellipsoids(grid, segments, segments),
    "in {} layers": lambda grid, segments: ellipsoids(grid, segments, FEW_LAYERS),
    "of the whole volume": boxes,
}


def measured(code: str, words: list[str]) -> tuple[float, float, int]:
    """Seconds, peak in MiB and exit code of a Python process."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, used.ru_maxrss / 1024, process.returncode


if __name__ == "__main__":
    sys.exit(main())
