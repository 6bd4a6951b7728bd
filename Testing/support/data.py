"""Real labelled volumes for tests and benchmarks.

Tests use the cases in `Testing/Data` and the MNI152 brain of the `nilearn` package. Benchmarks, and tests marked
`shared_data`, use the cases of the folder `$FEWSHOT_DATA`, else `../shared/data` beside the repository. Each case is
a folder with `image.nii.gz`, `label.nii.gz` and `labels.json` (label value to name), which may be beside the cases.
"""

from __future__ import annotations

import filecmp
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.cli.demo_case import read_mni152
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume, default_segment
from fewshot_annotate.io.files import read_label_maps, read_volume

REPOSITORY_CASES = Path(__file__).parents[1] / "Data"
MNI152 = "mni152"
# Crops of the abdomen case: two vertebrae that touch, and the liver in the whole volume.
# Label values, the box, and the slices of it that keep their labels: the vertebrae end in a few voxels.
VERTEBRAE = "ct_vertebrae"
LIVER = "ct_liver"
_CROPS = {
    VERTEBRAE: ((30, 31), (slice(13, 48), slice(0, 52), slice(38, 72)), slice(4, 30)),
    LIVER: ((5,), (slice(None), slice(None), slice(None)), slice(None)),
}


def case_names() -> list[str]:
    """Names of the cases of the repository."""
    return _names(REPOSITORY_CASES)


def shared_data_folder() -> Path | None:
    """The folder of further cases, or None where there is none."""
    folder = Path(os.environ.get("FEWSHOT_DATA") or Path(__file__).parents[3] / "shared" / "data")
    return folder if folder.is_dir() else None


def shared_case_names() -> list[str]:
    """Names of the cases in the folder of further cases."""
    folder = shared_data_folder()
    return _names(folder) if folder else []


def shared_case(name: str) -> Path:
    """Path of a case of the shared folder, for `load_case`."""
    folder = shared_data_folder()
    assert folder, "this test needs the shared folder of cases"
    return folder / name


def every_case() -> list[Any]:
    """Parameters of a test: paths of the cases in the repository and of further ones, marked `shared_data`.

    A further case with the same files as one of the repository is left out.
    """
    folder = shared_data_folder()
    further = [
        pytest.param(folder / name, marks=pytest.mark.shared_data, id=f"shared-{name}")
        for name in shared_case_names()
        if folder and not _same_files(folder / name, REPOSITORY_CASES / name)
    ]
    return [*(pytest.param(REPOSITORY_CASES / name, id=name) for name in case_names()), *further]


@cache
def load_case(name: str | Path) -> tuple[Volume, LabelMap]:
    """Image and full label map of a case: of the repository by its name, of any other by its path.

    Do not write into the arrays: they are shared by all tests.
    """
    if name == MNI152:
        volume, label_map = read_mni152()
    elif name in _CROPS:
        volume, label_map = _crop(*_CROPS[str(name)])
    else:
        volume, label_map = _read(REPOSITORY_CASES / name)
    volume.array.flags.writeable = False
    label_map.array.flags.writeable = False
    return volume, label_map


def load_benchmark_case(name: str) -> tuple[Volume, LabelMap]:
    """Image and full label map of a case of the shared folder, or of one of the repository."""
    folder = shared_data_folder()
    return load_case(folder / name) if folder and name in shared_case_names() else load_case(name)


def benchmark_case_names() -> list[str]:
    """Names of the cases of the shared folder, or of those of the repository where there is none."""
    return shared_case_names() or case_names()


def benchmark_brain() -> str:
    """Name of a whole brain: with many labels where the shared folder has one, else MNI152."""
    brain = "mr_brain_t1_freesurfer"
    return brain if brain in shared_case_names() else MNI152


def _same_files(folder: Path, other: Path) -> bool:
    """Whether image and label map of two cases are the same, byte for byte."""
    names = ("image.nii.gz", "label.nii.gz")
    return filecmp.cmpfiles(folder, other, names, shallow=False)[0] == list(names)


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/label.nii.gz"))


def _read(folder: Path) -> tuple[Volume, LabelMap]:
    volume = read_volume(folder / "image.nii.gz")
    (plain,) = read_label_maps(folder / "label.nii.gz", volume.geometry)
    of_case, of_all = folder / "labels.json", folder.parent / "labels.json"
    names = json.loads((of_case if of_case.exists() else of_all).read_text(encoding="utf-8"))
    segments = tuple(
        Segment(value=value, name=names.get(str(value), f"Label {value}"), colour=default_segment(value).colour)
        for value in plain.values
    )
    return volume, LabelMap(plain.array, plain.geometry, segments)


def _crop(values: tuple[int, ...], box: tuple[slice, slice, slice], labelled: slice) -> tuple[Volume, LabelMap]:
    """A crop of the abdomen case with some of its labels, renumbered from 1."""
    volume, label_map = _read(REPOSITORY_CASES / "ct_abdomen_pelvis")
    image, labels = (np.ascontiguousarray(array[box]) for array in (volume.array, label_map.array))
    names = {segment.value: segment.name for segment in label_map.segments}
    grid = Geometry(image.shape, volume.geometry.spacing, direction=volume.geometry.direction)
    mask = np.zeros_like(labels)
    segments = []
    for value, old in enumerate(values, start=1):
        mask[labelled][labels[labelled] == old] = value
        segments.append(Segment(value=value, name=names[old], colour=default_segment(value).colour))
    return Volume(image.astype(np.float32), grid), LabelMap(mask, grid, tuple(segments))
