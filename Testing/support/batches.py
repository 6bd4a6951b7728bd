"""Batches for tests: real cases on disk with their manifest."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewshot_annotate.cli import main
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.datasets.case_files import CaseFiles
from fewshot_annotate.datasets.manifest import Manifest, read_manifest
from fewshot_annotate.datasets.status import CaseStatus, StatusFile
from fewshot_annotate.io.files import write_array, write_label_maps

from support.labels import every_nth, keep_slices, small_case

AXIS = SliceAxis(0)


@dataclass
class Dataset:
    """A folder with one real volume and its labelled slices, and a manifest that lists them under several names."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def image(self) -> Path:
        return self.folder / "image.nii.gz"

    @property
    def support(self) -> Path:
        return self.folder / "support.nii.gz"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.csv"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def add(self, *names: str, **columns: str) -> None:
        """Rows for these names; further columns are the same for all of them."""
        for name in names:
            self.rows.append({"image": self.image.name, "support": self.support.name, "name": name, **columns})
        self.write()

    def write(self) -> None:
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        with self.manifest.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def case(self, name: str) -> CaseFiles:
        return CaseFiles(self.output / name)

    def status(self) -> dict[str, CaseStatus]:
        return StatusFile(self.output / "status.csv").read()

    def command(self, *more: object, engine: str = "propagate") -> list[str]:
        """Arguments of the plain command."""
        arguments = ("batch", self.manifest, "-o", self.output, "--engine", engine, "--progress", "none", *more)
        return list(map(str, arguments))

    def results(self) -> dict[str, bytes]:
        """The files of all cases that depend on the input alone, with their bytes."""
        found = (path for path in self.output.glob("*/[!.]*") if path.name not in ("case.json", "error.log"))
        return {str(path.relative_to(self.output)): path.read_bytes() for path in found}


def make_dataset(folder: Path, names: Sequence[str] = (), step: int = 8) -> Dataset:
    volume, label_map = small_case()
    dataset = Dataset(folder)
    write_array(dataset.image, volume.array, volume.geometry)
    write_label_maps(dataset.support, [keep_slices(label_map, AXIS, every_nth(label_map, AXIS, step))])
    dataset.add(*names)
    return dataset


def finish_but_one(dataset: Dataset) -> None:
    """Run a batch whose second row names a file that is not an image."""
    dataset.rows.insert(1, {"image": dataset.manifest.name, "support": dataset.support.name, "name": "failed"})
    dataset.write()
    assert main(dataset.command()) == 1


def copy_of(finished: Dataset, folder: Path) -> Dataset:
    """The output of a batch in another folder, for a test to change."""
    shutil.copytree(finished.output, folder / "out")
    return Dataset(folder, list(finished.rows))


def read_valid_manifest(path: Path, task: str = "") -> Manifest:
    """A manifest; raises the error of its first bad row."""
    manifest = read_manifest(path, task)
    for bad in manifest.bad_rows:
        raise bad.error
    return manifest
