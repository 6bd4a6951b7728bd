"""A folder with an image and its labelled slices, and the command lines for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.io.files import write_array, write_label_maps

from support.labels import every_nth, keep_slices, small_case

AXIS = SliceAxis(0)


@dataclass
class CaseFolder:
    """A folder with an image and its support, as a user has it."""

    folder: Path
    volume: Volume
    support: LabelMap
    indices: list[int]

    @property
    def image(self) -> Path:
        return self.folder / "image.nii.gz"

    @property
    def labels(self) -> Path:
        return self.folder / "support.nii.gz"

    @property
    def output(self) -> Path:
        return self.folder / "filled.nii.gz"

    @property
    def job(self) -> Path:
        return self.folder / "job"

    def fill(self, *more: object) -> list[str]:
        """Arguments of the plain command."""
        return [
            "fill",
            *map(str, (self.image, self.labels, "-o", self.output, "--overwrite", "--progress", "none", *more)),
        ]

    def files(self) -> dict[str, bytes | None]:
        """Everything in the folder, with its bytes."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None
            for path in self.folder.rglob("*")
        }

    def put_support(self, label_map: LabelMap) -> None:
        write_label_maps(self.labels, [label_map])


def make_case_folder(folder: Path) -> CaseFolder:
    volume, label_map = small_case()
    label_map = LabelMap(label_map.array, label_map.geometry, label_map.segments)
    indices = every_nth(label_map, AXIS, 8)
    case_folder = CaseFolder(folder, volume, keep_slices(label_map, AXIS, indices), indices)
    write_array(case_folder.image, volume.array, volume.geometry)
    case_folder.put_support(case_folder.support)
    return case_folder
