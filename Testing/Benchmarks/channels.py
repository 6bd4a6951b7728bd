r"""Gain by a second, co-registered channel, with every n-th slice labelled: mean Dice of the slices between.

With `--real` both channels are files. Else the second one is synthetic; the first is real or synthetic:

- phantom: two tubes on curves; each channel shows one of them
- contrast: a real case, and a channel with a random intensity for each label, blurred, with noise and a bias field
- repeat: a real case, and the same image with independent noise, at half the resolution
- noise: a real case, and a channel of noise alone, which must not do harm

    python Testing/Benchmarks/channels.py [--engines propagate adapt] [--case mr_spine_cord_t2] [--every 8]
    python Testing/Benchmarks/channels.py --real FIRST SECOND LABELS [--real FIRST SECOND LABELS ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.registry import engine_class
from fewshot_annotate.io.files import read_label_maps, read_volume
from methods import fill_between
from phantoms import two_tubes
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter, zoom
from scores import mean_dice, scored_labels
from support.data import benchmark_case_names, load_benchmark_case

BLUR_VOXELS = 0.7
# Relative to the range of intensities.
NOISE = 0.08

Case = tuple[Volume, np.ndarray]
# Name of a case and of its second channel, the case, and the channel.
Row = tuple[str, str, Case, Volume]


def contrast(volume: Volume, labels: np.ndarray) -> Volume:
    """A channel with a random intensity for each label."""
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 1, int(labels.max()) + 1)[labels]
    image = gaussian_filter(image, BLUR_VOXELS) + rng.normal(0, NOISE, image.shape)
    bias = gaussian_filter(rng.normal(0, 1, image.shape), [side / 4 for side in image.shape])
    image *= 1 + 0.2 * bias / np.abs(bias).max()
    return Volume(image.astype(np.float32), volume.geometry)


def repeat(volume: Volume, labels: np.ndarray) -> Volume:
    """The same image with other noise, each voxel of 2 x 2 x 1 times the size."""
    rng = np.random.default_rng(2)
    grid = volume.geometry
    image = volume.array.astype(np.float32)[:, ::2, ::2]
    image = image + rng.normal(0, NOISE * float(np.ptp(image)), image.shape)
    spacing = (2 * grid.spacing[0], 2 * grid.spacing[1], grid.spacing[2])
    k, j, i = image.shape
    return Volume(image.astype(np.float32), Geometry((k, j, i), spacing, grid.origin, grid.direction))


def noise(volume: Volume, labels: np.ndarray) -> Volume:
    """A channel that shows nothing."""
    image = np.random.default_rng(3).normal(0, 1, volume.array.shape)
    return Volume(image.astype(np.float32), volume.geometry)


CHANNELS: dict[str, Callable[[Volume, np.ndarray], Volume]] = {"contrast": contrast, "repeat": repeat, "noise": noise}


def dice_of(engine: str, volume: Volume, labels: np.ndarray, spacing: int) -> float:
    """Mean Dice of the slices between labelled ones."""
    axis = longest_axis(labels)
    truth = axis.slices(labels)
    indices = list(range(0, len(truth), spacing))
    painted = np.zeros_like(labels)
    axis.slices(painted)[indices] = truth[indices]
    support = Support.from_label_map(LabelMap(painted, volume.geometry), axis, indices)
    between = support.unlabelled(support.labelled_range())
    result, _ = fill_between(engine_class(engine)(), volume, support, truth)
    found = mean_dice(truth, result, between, scored_labels(truth))
    assert found is not None
    return found


def longest_axis(labels: np.ndarray) -> SliceAxis:
    """The axis with most labelled slices."""
    return max(map(SliceAxis, range(3)), key=lambda axis: len(labelled_indices(labels, axis)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--engines", nargs="+", default=["propagate", "adapt"], choices=["propagate", "adapt"])
    parser.add_argument("--case", default="mr_spine_cord_t2", choices=benchmark_case_names())
    parser.add_argument("--every", type=int, default=8, help="number of slices from one labelled slice to the next")
    parser.add_argument("--coarser", type=int, default=1, help="take every n-th voxel of the case, to save time")
    parser.add_argument(
        "--real", nargs=3, action="append", type=Path, metavar=("FIRST", "SECOND", "LABELS"), help="files of a case"
    )
    parser.add_argument("--merged", action="store_true", help="merge all labels of the cases into one")
    chosen = parser.parse_args()
    rows = real_rows(chosen.real) if chosen.real else synthetic_rows(chosen.case, chosen.coarser)
    table = Table("case", "second channel", *(f"{name} {what}" for name in chosen.engines for what in ("1", "1+2")))
    alone: dict[tuple[str, str], float] = {}
    for case, name, (volume, separate), further in rows:
        labels = (separate > 0).astype(separate.dtype) if chosen.merged else separate
        cells = []
        for engine in chosen.engines:
            if (case, engine) not in alone:
                alone[case, engine] = dice_of(engine, volume, labels, chosen.every)
            both = dice_of(engine, Volume(volume.array, volume.geometry, (further,)), labels, chosen.every)
            cells += [f"{alone[case, engine]:.3f}", f"{both:.3f}"]
        table.add_row(case, name, *cells)
    Console(width=110).print(table)


def real_rows(files: Sequence[Sequence[Path]]) -> Iterator[Row]:
    """Rows of cases of which both channels and the labels are files."""
    for first, second, labels in files:
        volume = read_volume(first)
        (label_map,) = read_label_maps(labels, volume.geometry)
        yield first.parent.name, without_suffixes(second), (volume, label_map.array), read_volume(second)


def synthetic_rows(name: str, coarser: int) -> Iterator[Row]:
    """Rows of the phantom, and of a case with synthetic channels."""
    made, second = two_tubes()
    yield "phantom", "the other tube", made, second
    real = coarsened(*load_benchmark_case(name), coarser)
    for channel, make in CHANNELS.items():
        yield name, channel, real, make(*real)


def without_suffixes(path: Path) -> str:
    """The name of a file up to its first dot."""
    return path.name.partition(".")[0]


def coarsened(volume: Volume, label_map: LabelMap, factor: int) -> Case:
    """The image and the labels of a case at a lower resolution."""
    if factor == 1:
        return volume, label_map.array
    image = zoom(volume.array.astype(np.float32), 1 / factor, order=1)
    labels = zoom(label_map.array, 1 / factor, order=0)
    grid = volume.geometry
    x, y, z = (length * factor for length in grid.spacing)
    k, j, i = image.shape
    return Volume(image, Geometry((k, j, i), (x, y, z), grid.origin, grid.direction)), labels


if __name__ == "__main__":
    main()
