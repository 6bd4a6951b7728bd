"""The comparison of two versions: what counts as the same result."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.append(str(Path(__file__).parents[1] / "Benchmarks"))

from same_results import fields_of_one, image_bytes, is_same, table_rows, without_changing


def test_times_and_versions_do_not_count_in_json_and_tables(tmp_path: Path) -> None:
    assert without_changing([{"index": 3, "seconds": 1.5}]) == [{"index": 3}]
    tables = [tmp_path / f"{number}.csv" for number in range(3)]
    for table, row in zip(tables, ("a,0.9,1.5", "a,0.9,7.0", "a,0.8,1.5"), strict=True):
        table.write_text(f"engine,dice,seconds\n{row}\n", encoding="utf-8")
    first, slower, other = map(table_rows, tables)
    assert is_same(first, slower)
    assert not is_same(first, other)


def test_a_new_key_is_listed_but_is_not_a_difference() -> None:
    first, second = [{"slice": 3}], [{"slice": 3, "plane": "axial"}]
    assert is_same(first, second)
    assert fields_of_one(first, second) == {"plane"}
    assert not is_same(first, [{"slice": 4, "plane": "axial"}])
    assert not is_same(first, [])


def test_one_voxel_or_the_spacing_makes_another_image(tmp_path: Path) -> None:
    def stored(name: str, value: int, spacing: float) -> bytes:
        image = sitk.GetImageFromArray(np.full((2, 2, 2), value, dtype=np.uint8))
        image.SetSpacing((spacing, 1, 1))
        sitk.WriteImage(image, str(tmp_path / name))
        return image_bytes(tmp_path / name)

    assert stored("a.nii.gz", 1, 1.0) == stored("b.nrrd", 1, 1.0)
    assert stored("a.nii.gz", 1, 1.0) != stored("c.nii.gz", 2, 1.0)
    assert stored("a.nii.gz", 1, 1.0) != stored("d.nii.gz", 1, 1.5)
