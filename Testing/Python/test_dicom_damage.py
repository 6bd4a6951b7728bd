"""Damaged DICOM images: read, or refused in one line, whatever pydicom raises."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.io.files import read_layers, read_volume
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from support.image_series import write_multi_frame
from support.synthetic_dicom import random_labels, write_ct_series

_PREAMBLE = 132
_SECRETS = ("Made", "Hand", "0815")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ct_series(tmp_path_factory.mktemp("damage") / "series")


@pytest.fixture(scope="module")
def enhanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    write_multi_frame(folder / "enhanced.dcm")
    return folder


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "segmentation"
    folder.mkdir()
    images = [dcmread(file) for file in sorted(write_ct_series(folder.with_name("images")).iterdir())]
    segmentation_of_images = two_segments(images, random_labels(2).array)
    segmentation_of_images.save_as(folder / "labels.dcm")
    return folder


def two_segments(images: list[Dataset], array: np.ndarray) -> Dataset:
    anatomy = CodedConcept("123037004", "SCT", "Anatomical Structure")
    descriptions = [
        SegmentDescription(number, f"Structure {number}", anatomy, anatomy, "MANUAL") for number in (1, 2)
    ]
    return Segmentation(
        images, array, "BINARY", descriptions, generate_uid(), 1, generate_uid(), 1, "maker", "model", "1", "0"
    )


def header_length(content: bytes) -> int:
    return content.rindex(b"\xe0\x7f\x10\x00")


def damaged(content: bytes, kind: str, fraction: float, inserted: bytes) -> bytes:
    """A file with a part of its header replaced, inserted, missing or cut off."""
    start = _PREAMBLE + int(fraction * (header_length(content) - _PREAMBLE))
    return {
        "replaced": content[:start] + inserted + content[start + len(inserted) :],
        "inserted": content[:start] + inserted + content[start:],
        "missing": content[:start] + content[start + len(inserted) :],
        "cut off": content[:start],
    }[kind]


def element_starts(file: Path) -> list[int]:
    """Offsets of the elements of a data set with explicit value representations, without the pixels."""
    dataset = dcmread(file, stop_before_pixels=True)
    elements = (dataset.get_item(element.tag) for element in dcmread(file, stop_before_pixels=True))
    lengths = {"OB", "OW", "SQ", "UN", "UT", "UC", "UR"}
    return [element.value_tell - (12 if element.VR in lengths else 8) for element in elements if element is not None]


def assert_read_or_refused(folder: Path, content: bytes) -> None:
    """Read as image, series and labels; no warning of pydicom appears, as these can quote patient data."""
    file = sorted(folder.iterdir())[0]
    original = file.read_bytes()
    try:
        file.write_bytes(content)
        for read in (read_volume, read_series, read_layers):
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                try:
                    read(folder)
                except InputError as error:
                    assert "\n" not in str(error)
                    assert not any(secret in str(error) for secret in _SECRETS)
            assert not warned
    finally:
        file.write_bytes(original)


DAMAGE = given(
    st.sampled_from(["replaced", "inserted", "missing", "cut off"]),
    st.floats(0, 0.999),
    st.one_of(st.binary(min_size=1, max_size=6), st.just(b"\xff\xff\xff\xff")),
)


@settings(max_examples=120, deadline=None)
@DAMAGE
@example("missing", 0.931640625, bytes(6))  # its number of rows becomes several values
def test_a_damaged_slice_is_read_or_refused_in_one_line(
    series: Path, kind: str, fraction: float, inserted: bytes
) -> None:
    original = sorted(series.iterdir())[0].read_bytes()
    assert_read_or_refused(series, damaged(original, kind, fraction, inserted))


@settings(max_examples=120, deadline=None)
@DAMAGE
def test_damaged_frame_descriptions_are_read_or_refused_in_one_line(
    enhanced: Path, kind: str, fraction: float, inserted: bytes
) -> None:
    original = sorted(enhanced.iterdir())[0].read_bytes()
    assert_read_or_refused(enhanced, damaged(original, kind, fraction, inserted))


@pytest.mark.parametrize(
    ("offset", "replacement"),
    [(4, b"Q"), (6, b"\x01")],
    ids=["unknown representation", "impossible length"],
)
@pytest.mark.parametrize("kind", ["series", "enhanced", "segmentation"])
def test_a_damaged_element_is_read_or_refused(
    kind: str, offset: int, replacement: bytes, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    file = sorted(folder.iterdir())[0]
    original = file.read_bytes()
    starts = element_starts(file)
    assert len(starts) > 20
    for start in starts:
        position = start + offset
        assert_read_or_refused(folder, original[:position] + replacement + original[position + 1 :])


# For these, pydicom raises struct.error, OSError, BytesLengthException and NotImplementedError.
def cut_in_a_sequence(content: bytes) -> bytes:
    return content[: content.index(b"\x00\x52\x30\x92") + 300]


def item_without_its_tag(content: bytes) -> bytes:
    start = content.index(b"\xfe\xff\x00\xe0", content.index(b"\x00\x52\x30\x92"))
    return content[: start + 1] + content[start + 3 :]


def impossible_length(content: bytes) -> bytes:
    start = content.index(b"\x28\x00\x10\x00US\x02\x00")
    return content[: start + 6] + b"\x01\x00" + content[start + 8 : start + 9] + content[start + 10 :]


def unknown_representation(content: bytes) -> bytes:
    return content.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00Ur")


@pytest.mark.parametrize(
    "damage",
    [cut_in_a_sequence, item_without_its_tag, impossible_length, unknown_representation],
    ids=lambda damage: damage.__name__,
)
def test_the_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "enhanced.dcm"
    write_multi_frame(file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError) as refused:
        read_volume(tmp_path)
    assert refused.value.code in ("file_unreadable", "file_truncated")
    assert "enhanced.dcm" in str(refused.value)


@pytest.mark.parametrize("content", [b"", bytes(400)], ids=["empty", "another format"])
def test_a_file_with_a_dicom_suffix_but_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_ct_series(tmp_path / "series")
    last = sorted(folder.iterdir())[-1]
    (folder / f"._{last.name}").write_bytes(b"metadata of macOS")
    read_volume(folder)
    last.write_bytes(content)
    with pytest.raises(InputError, match=last.name):
        read_volume(folder)
