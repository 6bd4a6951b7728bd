"""Segmentations in NRRD as other programs write them, made here with pynrrd."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import LabelMap
from fewshot_annotate.io.files import read_label_maps

SPACE = {"space": "left-posterior-superior", "space origin": [1, 2, 3]}
DIRECTIONS = np.diag([0.7, 0.8, 2.5])
FIRST, SECOND = np.zeros((2, 5, 6, 7), np.uint8)
FIRST[1:3, 2:4, 3:5] = 1
SECOND[2:4, 2:4, 3:6] = 1


def segment(number: int, **more: str) -> dict[str, str]:
    fields = {"ID": f"S{number}", "Name": f"organ {number}", "Color": "1 0 0", "Tags": "|", **more}
    return {f"Segment{number}_{name}": text for name, text in fields.items()}


def write(path: Path, array: np.ndarray, **fields: str) -> Path:
    header = {**SPACE, "space directions": DIRECTIONS, "kinds": ["domain"] * 3, **fields}
    if array.ndim == 4:
        header["space directions"] = np.vstack([np.full((1, 3), np.nan), DIRECTIONS])
        header["kinds"] = ["list", "domain", "domain", "domain"]
    nrrd.write(str(path), array, header)
    return path


def masks(layers: list[LabelMap]) -> dict[str, np.ndarray]:
    return {one.name: (layer.array == one.value).T for layer in layers for one in layer.segments}


def test_each_segment_of_an_old_file_is_a_layer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.seg.nrrd", np.stack([FIRST, SECOND]), **segment(0), **segment(1))
    found = masks(read_label_maps(path))
    assert found.keys() == {"organ 0", "organ 1"}
    assert np.array_equal(found["organ 0"], FIRST)
    assert np.array_equal(found["organ 1"], SECOND)


@pytest.mark.parametrize("name", ["a.nrrd", "a.seg.nhdr", "A.NRRD", "segmentation"])
@pytest.mark.parametrize("layers", [1, 2])
def test_segments_are_found_whatever_the_file_is_called(name: str, layers: int, tmp_path: Path) -> None:
    array = FIRST if layers == 1 else np.stack([FIRST, SECOND])
    fields = {}
    for number in range(layers):
        fields |= segment(number, LabelValue="1", Layer=str(number))
    written = write(tmp_path / ("a.seg.nhdr" if "nhdr" in name else "a.seg.nrrd"), array, **fields)
    path = written if "nhdr" in name else written.rename(tmp_path / name)
    found = masks(read_label_maps(path))
    assert list(found) == [f"organ {n}" for n in range(layers)]
    assert np.array_equal(found["organ 0"], FIRST)


@pytest.mark.parametrize("kind", ["list", "vector", "2-vector", "4-vector", "???"])
@pytest.mark.parametrize("first", [True, False])
def test_layers_are_found_whatever_the_kind_of_their_axis(kind: str, first: bool, tmp_path: Path) -> None:
    array = np.stack([FIRST, SECOND], axis=0 if first else -1)
    directions = ["(0.7,0,0)", "(0,0.8,0)", "(0,0,2.5)"]
    axes = [("none", kind), *((text, "domain") for text in directions)]
    axes = axes if first else [*axes[1:], axes[0]]
    described = {**segment(0, LabelValue="1", Layer="0"), **segment(1, LabelValue="1", Layer="1")}
    lines = [
        "NRRD0004\ntype: uchar\ndimension: 4\nspace: left-posterior-superior\nencoding: raw",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {' '.join(direction for direction, _ in axes)}",
        f"kinds: {' '.join(name for _, name in axes)}\nspace origin: (1,2,3)",
        *(f"{name}:={text}" for name, text in described.items()),
    ]
    (tmp_path / "a.seg.nrrd").write_bytes("\n".join([*lines, "", ""]).encode() + array.tobytes(order="F"))
    found = masks(read_label_maps(tmp_path / "a.seg.nrrd"))
    assert np.array_equal(found["organ 0"], FIRST)
    assert np.array_equal(found["organ 1"], SECOND)


def test_segment_numbers_may_have_gaps(tmp_path: Path) -> None:
    first, third = segment(0, LabelValue="1", Layer="0"), segment(2, LabelValue="2", Layer="0")
    path = write(tmp_path / "a.seg.nrrd", np.where(FIRST, 1, 2 * SECOND).astype(np.uint8), **first, **third)
    assert list(masks(read_label_maps(path))) == ["organ 0", "organ 2"]


@pytest.mark.parametrize("field", ["Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation"])
def test_fractional_labels_are_refused(field: str, tmp_path: Path) -> None:
    fields = {field: "Fractional labelmap", **segment(0, LabelValue="1", Layer="0")}
    path = write(tmp_path / "a.seg.nrrd", FIRST * np.uint8(108), **fields)
    with pytest.raises(InputError) as refused:
        read_label_maps(path)
    assert refused.value.code == "segmentation_fractional"
