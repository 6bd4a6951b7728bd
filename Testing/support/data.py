"""Real labelled volumes for tests and benchmarks: a folder of cases, or the MNI152 brain that nilearn carries.

The folder is `$FEWSHOT_DATA`, else `../shared/data` beside the repository. Each case in it is a folder with
`image.nii.gz`, `label.nii.gz` and `labels.json` (id to name).
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from FewShotAnnotateLib.core.files import read_label_maps, read_volume
from FewShotAnnotateLib.core.volume import LabelMap, Segment, Volume, default_segment
from FewShotAnnotateLib.demo import read_mni152

MNI152 = "mni152"


def data_dir() -> Path | None:
    """The folder of cases, or None where there is none."""
    folder = Path(os.environ.get("FEWSHOT_DATA") or Path(__file__).parents[3] / "shared" / "data")
    return folder if folder.is_dir() else None


def case_names() -> list[str]:
    """Names of the cases at hand, never empty."""
    folder = data_dir()
    return sorted(path.parent.name for path in folder.glob("*/label.nii.gz")) if folder else [MNI152]


def case_or_mni152(name: str) -> str:
    """`name` if that case is at hand, else the MNI152 brain."""
    return name if name in case_names() else MNI152


@cache
def load_case(name: str) -> tuple[Volume, LabelMap]:
    """Image and full label map of a case. Do not write into the arrays: they are shared by all tests."""
    folder = data_dir()
    if name == MNI152 or folder is None:
        volume, label_map = read_mni152()
    else:
        volume = read_volume(folder / name / "image.nii.gz")
        (plain,) = read_label_maps(folder / name / "label.nii.gz", volume.geometry)
        names = json.loads((folder / name / "labels.json").read_text(encoding="utf-8"))
        segments = tuple(
            Segment(value, names.get(str(value), f"Label {value}"), default_segment(value).colour)
            for value in plain.values
        )
        label_map = LabelMap(plain.array, plain.geometry, segments)
    volume.array.flags.writeable = False
    label_map.array.flags.writeable = False
    return volume, label_map
