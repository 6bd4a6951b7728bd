"""Whether two versions of the program give the same results: the bytes of fill, suggest, compare, batch and export.

    python Testing/Benchmarks/same_results.py REVISION [REVISION2] [--engine NAME] [--data DIR] [--cases NAME ...]

Each version is taken from git and runs in processes of its own with this Python; without REVISION2 the second one is
the working tree. Every fifth slice of each case of `Testing/Data`, or of another such folder, is labelled. Compared
are voxels and geometry of images, and tables and JSON without times, versions and paths; columns and keys that only
one version has are listed. The exit code is 1 if anything else differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "Testing" / "Data"
LABELLED_STEP = 5
# Names that the package had, the newest first.
PACKAGES = ("fewshot_annotate", "FewShotAnnotateLib")
# Columns and keys that differ from run to run, or name the version.
CHANGING = re.compile("seconds|version|message|path|time|threads")

# Bytes of images; tables and JSON as plain data.
Result = dict[str, Any]


def main() -> int:
    """Compare two versions; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision")
    parser.add_argument("revision2", nargs="?")
    parser.add_argument("--engine", default="propagate", help="engine that fills (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=CASES, help="folder of the cases (default: %(default)s)")
    parser.add_argument("--cases", nargs="+", help="names of the cases (default: all of the folder)")
    options = parser.parse_args()
    chosen = options.cases or sorted(path.parent.name for path in options.data.glob("*/image.nii.gz"))
    table = Table("case", "command", "results", "same bytes", "differing", "in one version alone")
    differing = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        revisions = (options.revision, options.revision2)
        packages = [checked_out(revision, folder / f"version{n}") for n, revision in enumerate(revisions)]
        for case in [options.data.resolve() / name for name in chosen]:
            support = write_support(case, folder / f"{case.name}-support.nii.gz")
            for command, run in COMMANDS.items():
                first, second = (
                    run(Program(package, folder / f"{case.name}-{command}-{n}", options.engine), case, support)
                    for n, package in enumerate(packages)
                )
                names = sorted(set(first) | set(second))
                others = [name for name in names if not is_same(first.get(name), second.get(name))]
                fields = sorted(set().union(*(fields_of_one(first.get(name), second.get(name)) for name in names)))
                differing += len(others)
                counts = str(len(names)), str(len(names) - len(others))
                table.add_row(case.name, command, *counts, ", ".join(others), ", ".join(fields))
    Console(width=110).print(table)
    return int(differing > 0)


def checked_out(revision: str | None, folder: Path) -> Path:
    """Folder that holds the package of a revision; of the working tree for None."""
    if revision is None:
        return ROOT / "FewShotAnnotate"
    folder.mkdir()
    archive = folder / "archive.tar"
    command = ["git", "archive", "--output", str(archive), revision, "FewShotAnnotate"]
    subprocess.run(command, cwd=ROOT, check=True)
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / "FewShotAnnotate"


class Program:
    """The command line of one version, which writes to a folder of its own.

    Parameters
    ----------
    parent : Path
        Folder that holds the package.
    folder : Path
        For results and the user's data; it is created.
    engine : str
        Name of the engine that fills.
    """

    def __init__(self, parent: Path, folder: Path, engine: str) -> None:
        self.folder = folder
        self.engine = engine
        folder.mkdir()
        package = next(name for name in PACKAGES if (parent / name).is_dir())
        self._command = [sys.executable, "-c", f"import sys; from {package}.cli import main; sys.exit(main())"]
        changed = {"PYTHONPATH": str(parent), "FEWSHOT_ANNOTATE_HOME": str(folder / "home")}
        self._environment = os.environ | changed

    def run(self, *arguments: object) -> str:
        """Run a command; returns what it printed, and raises an error if it failed."""
        words = [*self._command, *map(str, arguments)]
        result = subprocess.run(words, env=self._environment, cwd=self.folder, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{' '.join(words[3:])}: exit code {result.returncode}\n{result.stderr}")
        return result.stdout


def write_support(case: Path, path: Path) -> Path:
    """Write the labels of every fifth slice that holds any."""
    image = sitk.ReadImage(str(case / "label.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    held = np.flatnonzero(array.any(axis=(1, 2)))
    array[np.setdiff1d(np.arange(len(array)), held[::LABELLED_STEP])] = 0
    support = sitk.GetImageFromArray(array)
    support.CopyInformation(image)
    sitk.WriteImage(support, str(path))
    shutil.copy(case / "labels.json", path.with_name(path.name.replace(".nii.gz", ".labels.json")))
    return path


def fill(program: Program, case: Path, support: Path) -> Result:
    """Filled labels and their confidence."""
    output, confidence = program.folder / "filled.nii.gz", program.folder / "confidence.nii.gz"
    program.run(
        *("fill", case / "image.nii.gz", support, "--axis", 0, "--engine", program.engine),
        *("-o", output, "--confidence", confidence, "--progress", "none"),
    )
    return {path.name: image_bytes(path) for path in (output, confidence)}


def suggest(program: Program, case: Path, support: Path) -> Result:
    """The suggested slices."""
    printed = program.run("suggest", case / "image.nii.gz", support, "--axis", 0, "--count", 3)
    return {"suggestions": without_changing(json.loads(printed))}


def compare(program: Program, case: Path, support: Path) -> Result:
    """Tables of a comparison with two labelled slices."""
    report = program.folder / "report"
    program.run(
        *("compare", case / "image.nii.gz", support, "--axis", 0, "--engines", program.engine, "-o", report),
        *("--sizes", 2, "--draws", 1, "--held-out", 2, "--progress", "none"),
    )
    return {path.name: table_rows(path) for path in sorted(report.glob("*.csv"))}


def batch(program: Program, case: Path, support: Path) -> Result:
    """All label maps and the table of a batch of one case."""
    manifest, output = program.folder / "manifest.csv", program.folder / "batch"
    image = case / "image.nii.gz"
    manifest.write_text(f"name,image,support,axis\n{case.name},{image},{support},0\n", encoding="utf-8")
    program.run("batch", manifest, "-o", output, "--engine", program.engine, "--workers", 1, "--progress", "none")
    images = {path.relative_to(output).as_posix(): image_bytes(path) for path in sorted(output.rglob("*.nii.gz"))}
    return images | {"status.csv": table_rows(output / "status.csv")}


def export(program: Program, case: Path, support: Path) -> Result:
    """Label maps in each format; of a DICOM segmentation, its frames and segments."""
    results: Result = {}
    for target, suffix in (("nifti", ".nii.gz"), ("nrrd", ".nrrd"), ("seg-nrrd", ".seg.nrrd")):
        path = program.folder / f"labels{suffix}"
        program.run("export", case / "label.nii.gz", "--to", target, "-o", path)
        results[path.name] = image_bytes(path)
    series = case / "series"
    if series.is_dir():
        path = program.folder / "labels.dcm"
        reference = ("--reference", series, "--default-code", "--type", "labelmap")
        program.run("export", case / "label.nii.gz", "--to", "dicom-seg", *reference, "-o", path)
        results[path.name] = dicom_bytes(path)
    return results


COMMANDS: dict[str, Callable[[Program, Path, Path], Result]] = {
    "fill": fill,
    "suggest": suggest,
    "compare": compare,
    "batch": batch,
    "export": export,
}


def image_bytes(path: Path) -> bytes:
    """Voxels, type and geometry of an image, uncompressed."""
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    header = repr((array.dtype, array.shape, image.GetSpacing(), image.GetOrigin(), image.GetDirection()))
    return header.encode() + array.tobytes()


def dicom_bytes(path: Path) -> bytes:
    """Frames of a DICOM segmentation, and number, label and type code of its segments."""
    from pydicom import dcmread

    dataset = dcmread(path)
    segments = [
        (item.SegmentNumber, item.SegmentLabel, item.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for item in dataset.SegmentSequence
    ]
    return repr((segments, dataset.NumberOfFrames)).encode() + dataset.PixelData


def table_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file without columns that change from run to run."""
    with path.open(newline="", encoding="utf-8") as file:
        return [without_changing(row) for row in csv.DictReader(file)]


def without_changing(content: Any) -> Any:
    """Plain data without keys that change from run to run."""
    if isinstance(content, dict):
        return {key: without_changing(value) for key, value in content.items() if not CHANGING.search(key)}
    if isinstance(content, list):
        return [without_changing(value) for value in content]
    return content


def is_same(first: Any, second: Any) -> bool:
    """Whether two results are equal in all that both have."""
    if isinstance(first, dict) and isinstance(second, dict):
        return all(is_same(first[key], second[key]) for key in first.keys() & second.keys())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(is_same, first, second))
    return bool(first == second)


def fields_of_one(first: Any, second: Any) -> set[str]:
    """Columns and keys that only one of two results has."""
    if isinstance(first, dict) and isinstance(second, dict):
        shared = (fields_of_one(first[key], second[key]) for key in first.keys() & second.keys())
        return (first.keys() ^ second.keys()).union(*shared)
    if isinstance(first, list) and isinstance(second, list):
        return set().union(*map(fields_of_one, first, second))
    return set()


if __name__ == "__main__":
    sys.exit(main())
