"""Memory for many segments in layers, as a table: reading, filling, and export to DICOM.

    python Testing/Benchmarks/layers.py [--size 400 512 512] [--segments 60]

Ellipsoids of random sizes, either all through the same voxels, so that each needs a layer of its own, or in a few
layers. Every 20th slice is labelled for the fill, which fills three slices. Each row is a process of its own; its
peak is the largest resident size of it or of one that it started.
"""

from __future__ import annotations

import argparse
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

from support.made_dicom import ct_series

_RUN = "import sys; from fewshot_annotate.cli import main; sys.exit(main())"
_READ = "import sys; from fewshot_annotate.io.files import read_label_maps; print(len(read_label_maps(sys.argv[1])))"
LABELLED_STEP = 20
FEW_LAYERS = 3


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs=3, type=int, default=(400, 512, 512), metavar=("SLICES", "ROWS", "COLUMNS"))
    parser.add_argument("--segments", type=int, default=60)
    options = parser.parse_args()
    grid = Geometry(tuple(options.size), (0.8, 0.8, 1.0))
    table = Table("segments", "what", "seconds", "peak MiB", "exit code")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        image = np.random.default_rng(0).normal(0, 50, grid.shape[1:]).astype(np.int16)
        series = ct_series(place / "series", grid, np.broadcast_to(image, grid.shape))
        for name, count in (("overlapping", options.segments), (f"in {FEW_LAYERS} layers", FEW_LAYERS)):
            whole, support = place / f"{count}.seg.nrrd", place / f"{count}-support.seg.nrrd"
            layers = ellipsoids(grid, options.segments, count)
            write_label_maps(whole, layers)
            write_label_maps(support, [on_labelled_slices(layer) for layer in layers])
            del layers
            start = grid.shape[0] // 2 // LABELLED_STEP * LABELLED_STEP
            fill = [
                "fill",
                series,
                support,
                "-o",
                place / f"{count}-filled.seg.nrrd",
                "--axis",
                "0",
                "--engine",
                "propagate",
            ]
            fill += ["--slices", f"{start + 1}:{start + 4}", "--progress", "none"]
            export = [
                "export",
                whole,
                "--to",
                "dicom-seg",
                "--reference",
                series,
                "-o",
                place / f"{count}.dcm",
                "--default-code",
            ]
            for what, code, words in (
                ("read", _READ, [whole]),
                ("fill", _RUN, fill),
                ("export to DICOM SEG", _RUN, export),
            ):
                seconds, peak, status = measured(code, [str(word) for word in words])
                print(f"{name}: {what} {peak:.0f} MiB ({seconds:.0f} s)", file=sys.stderr)
                table.add_row(f"{options.segments} {name}", what, f"{seconds:.0f}", f"{peak:.0f}", str(status))
    Console().print(table)
    return 0


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


def on_labelled_slices(layer: LabelMap) -> LabelMap:
    """The layer with labels on every `LABELLED_STEP`-th slice only."""
    array = sparse_zeros(layer.array.shape, layer.array.dtype)
    array[::LABELLED_STEP] = layer.array[::LABELLED_STEP]
    return layer.with_array(array)


def measured(code: str, words: list[str]) -> tuple[float, float, int]:
    """Seconds, peak in MiB and exit code of a Python process."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, used.ru_maxrss / 1024, process.returncode


if __name__ == "__main__":
    sys.exit(main())
