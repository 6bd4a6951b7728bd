r"""Time and memory of tasks with large cases and with many cases, as a table.

    python Testing/Benchmarks/large_task.py [--shape 160 192 224] [--cases 4] [--budget 120] [--many 20 200]

The cases are made from one brain (mr_brain_t1_freesurfer, else the MNI152 brain): resampled, its largest labels,
each moved, scaled in intensity and noisy, so the Dice says only that the model works. First, a task of a few large
cases is trained and fills one more; then tasks of different numbers of smaller cases are trained, whose peaks must
not grow with the number. Each row is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from fewshot_annotate.core.dice import dice
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from measured import run_measured
from report import markdown_table
from speed import resampled
from support.data import benchmark_brain

_RUN = "import sys; from fewshot_annotate.cli import main; sys.exit(main())"
SMALL_SHAPE = (96, 96, 96)
SMALL_BUDGET = 20


def case_of(image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels of another patient: moved, with other intensities and noise."""
    random = np.random.default_rng(seed)
    shift = tuple(int(step) for step in random.integers(-6, 7, 3))
    moved = np.roll(image, shift, axis=(0, 1, 2)) * random.uniform(0.8, 1.2)
    noise = random.normal(0, 0.02 * float(image.std()), image.shape)
    return (moved + noise).astype(np.float32), np.roll(labels, shift, axis=(0, 1, 2))


def write_case(folder: Path, name: str, image: np.ndarray, labels: np.ndarray) -> tuple[Path, Path]:
    """Write a case as NIfTI."""
    geometry = Geometry(image.shape)
    values = range(1, int(labels.max()) + 1)
    segments = tuple(Segment(value=value, name=f"Label {value}", colour=(1.0, 0.0, 0.0)) for value in values)
    paths = folder / f"{name}.nii.gz", folder / f"{name}-labels.nii.gz"
    write_array(paths[0], image, geometry)
    write_label_maps(paths[1], [LabelMap(labels, geometry, segments)])
    return paths


def run(*arguments: object) -> tuple[float, float]:
    """Run a command of the program; seconds and peak MiB."""
    seconds, peak, code = run_measured([sys.executable, "-c", _RUN, *map(str, arguments)])
    if code:
        raise RuntimeError(f"{arguments[0]} ended with code {code}")
    return seconds, peak


def trained(folder: Path, name: str, cases: int, shape: tuple[int, int, int], budget: float) -> tuple[float, float]:
    """Create a task, add cases and train it; seconds and peak MiB of the training."""
    image, labels = resampled(benchmark_brain(), shape)
    run("task", "create", name)
    for seed in range(cases):
        paths = write_case(folder, "case", *case_of(image, labels, seed))
        run("task", "add", name, *paths)
    return run("task", "train", name, "--budget", budget, "--progress", "none")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=[160, 192, 224])
    parser.add_argument("--cases", type=int, default=4, help="cases of the task with large cases")
    parser.add_argument("--budget", type=float, default=120, help="seconds of its training")
    parser.add_argument("--many", nargs="*", type=int, default=[20, 200], help="numbers of smaller cases")
    options = parser.parse_args()
    shape = tuple(options.shape)
    rows = [["what", "cases", "seconds", "peak MiB", "all images, MiB", "Dice"]]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["FEWSHOT_ANNOTATE_HOME"] = str(folder / "home")
        seconds, peak = trained(folder, "large", options.cases, shape, options.budget)
        size = "x".join(map(str, reversed(shape)))
        mib = float(np.prod(shape)) * 4 / 2**20
        rows.append(
            [
                f"training, {size}",
                str(options.cases),
                f"{seconds:.0f}",
                f"{peak:.0f}",
                f"{options.cases * mib:.0f}",
                "",
            ]
        )
        image, labels = case_of(*resampled(benchmark_brain(), shape), 1000)
        paths = write_case(folder, "new", image, labels)
        filled = folder / "filled.nii.gz"
        seconds, peak = run("fill", paths[0], "--task", "large", "-o", filled, "--progress", "none")
        (result,) = read_label_maps(filled)
        found = [dice(labels, result.array, value) for value in range(1, int(labels.max()) + 1)]
        rows.append([f"fill, {size}", "1", f"{seconds:.1f}", f"{peak:.0f}", f"{mib:.0f}", f"{np.mean(found):.3f}"])
        for count in options.many:
            seconds, peak = trained(folder, f"many{count}", count, SMALL_SHAPE, SMALL_BUDGET)
            mib = count * float(np.prod(SMALL_SHAPE)) * 4 / 2**20
            size = "x".join(map(str, reversed(SMALL_SHAPE)))
            rows.append([f"training, {size}", str(count), f"{seconds:.0f}", f"{peak:.0f}", f"{mib:.0f}", ""])
    print("\n".join(markdown_table(rows)))


if __name__ == "__main__":
    main()
