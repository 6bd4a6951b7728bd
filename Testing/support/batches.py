"""Batches for tests: real cases on disk with their manifest, and stand-in engines for all worker processes."""

from __future__ import annotations

import csv
import operator
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.datasets.case_files import CaseFiles
from fewshot_annotate.datasets.status import CaseStatus, StatusFile
from fewshot_annotate.engines import registry
from fewshot_annotate.engines.base import Engine, RunContext
from fewshot_annotate.engines.option import Option
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.io.files import write_array, write_label_maps

from support.labels import every_nth, keep_slices, small_case
from support.processes import PACKAGE_PARENT

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
    from fewshot_annotate.cli import main  # slow, and not needed by worker processes that import this file

    dataset.rows.insert(1, {"image": dataset.manifest.name, "support": dataset.support.name, "name": "failed"})
    dataset.write()
    assert main(dataset.command()) == 1


def copy_of(finished: Dataset, folder: Path) -> Dataset:
    """The output of a batch in another folder, for a test to change."""
    shutil.copytree(finished.output, folder / "out")
    return Dataset(folder, list(finished.rows))


class Crashing(Propagate):
    """A stand-in that ends its own process, as a crash in a library would: always, or unless a file exists."""

    name = "crashing"
    options = {  # noqa: RUF012
        "signal": Option(int(signal.SIGSEGV), "Signal."),
        "once": Option("", "File that it makes before it ends its process; if the file exists, it fills as usual."),
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext(), **more: Any) -> None:
        once = self.settings["once"]
        if not once or not Path(once).exists():
            if once:
                Path(once).touch()
            os.kill(os.getpid(), self.settings["signal"])
            time.sleep(60)
        super().prepare(volume, support, context, **more)


class Heavy(Propagate):
    """A stand-in with weights, which a process loads once; after some cases it waits for a file."""

    name = "heavy"
    options = {  # noqa: RUF012
        "log": Option("", "File that lists the processes that loaded weights."),
        "quick": Option(1000, "Number of cases after which a process waits."),
        "slow": Option("", "File that lists waiting processes; they go on once FILE.go exists."),
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext(), **more: Any) -> None:
        _weights(self.settings["log"])
        super().prepare(volume, support, context, **more)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        global _cases
        _cases += 1
        if _cases > self.settings["quick"]:
            _note(self.settings["slow"])
            while not Path(f"{self.settings['slow']}.go").exists():
                self.context.report_progress(0.1)
                time.sleep(0.01)
        yield from super().predict(slice_indices)


_cases = 0


@cache
def _weights(log: str) -> object:
    if log:
        _note(log)
    return object()


def _note(path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


class MostSimilar(Engine):
    """A stand-in for an engine that uses examples alone: it copies the mask of the most similar one."""

    name = "most-similar"
    title = summary = licence = ""
    uses_library = True

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext(), **more: Any) -> None:
        super().prepare(volume, support, context)
        self._slices = support.axis.slices(volume.array)
        self._labels = support.labels

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        values = np.array([0, *self._labels])[:, None, None]
        for index in slice_indices:
            image = self._slices[index].astype(np.float32)
            nearest = min(self.context.examples, key=lambda example: float(np.abs(example.image - image).mean()))
            yield index, (nearest.mask == values).astype(np.float32)


_STANDINS = (Crashing, Heavy, MostSimilar)


def register(set_item: Callable[[Any, str, Any], None] = operator.setitem) -> None:
    """Register the stand-ins in this process, as if their files were among those of the engines."""
    for engine in _STANDINS:
        set_item(sys.modules, f"{registry.__package__}.{engine.name}", sys.modules[__name__])
        set_item(registry.ENGINES, engine.name, (engine.name, engine.__name__))


def environment_with_standins(folder: Path) -> dict[str, str]:
    """Environment in which every Python process, and all that it starts, has the stand-ins registered."""
    (folder / "sitecustomize.py").write_text(
        "try:\n    from support.batches import register\n    register()\nexcept ImportError:\n    pass\n"
    )
    folders = (folder, PACKAGE_PARENT, Path(__file__).parents[1])
    return {"PYTHONPATH": os.pathsep.join(map(str, folders))}
