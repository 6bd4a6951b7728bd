"""Only DICOM needs codes; segments without one can be exported as Tissue, as in Slicer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.segment_tags import TERMINOLOGY_TAG
from fewshot_annotate.core.volume import LabelMap
from fewshot_annotate.io.files import write_label_maps
from pydicom import dcmread
from support.synthetic_dicom import random_labels, write_ct_series

LIVER = "a~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~b~^^~^^"


@pytest.fixture
def labels_path(tmp_path: Path) -> Path:
    """A label map whose segments have an unknown name, a known name, a code, and a damaged code."""
    label_map = random_labels(4)
    unknown, known, coded, damaged = label_map.segments
    segments = (
        unknown,
        replace(known, name="spleen"),
        replace(coded, name="my liver", tags={TERMINOLOGY_TAG: LIVER}),
        replace(damaged, name="left \u80dd", tags={TERMINOLOGY_TAG: "x~y~z"}),
    )
    path = tmp_path / "in.seg.nrrd"
    write_label_maps(path, [LabelMap(label_map.array, label_map.geometry, segments)])
    return path


def types_in(path: Path) -> list[tuple[str, str]]:
    return [
        (
            str(item.SegmentedPropertyCategoryCodeSequence[0].CodeValue),
            str(item.SegmentedPropertyTypeCodeSequence[0].CodeValue),
        )
        for item in dcmread(path).SegmentSequence
    ]


TISSUE, SPLEEN = ("85756007", "85756007"), ("123037004", "78961009")


@pytest.mark.parametrize(("more", "second"), [((), TISSUE), (("--suggest-codes",), SPLEEN)])
def test_segments_without_a_code_are_tissue_on_request(
    labels_path: Path, tmp_path: Path, more: tuple[str, ...], second: tuple[str, str]
) -> None:
    output = tmp_path / "seg.dcm"
    arguments = [
        "export",
        labels_path,
        "--to",
        "dicom-seg",
        "--reference",
        write_ct_series(tmp_path / "series"),
        "-o",
        output,
    ]
    assert main(list(map(str, arguments))) == 2
    assert main([*map(str, arguments), "--default-code", *more]) == 0
    assert types_in(output) == [TISSUE, second, ("123037004", "10200004"), TISSUE]


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "seg.nrrd"])
def test_formats_without_codes_do_not_mention_them(
    labels_path: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = {"nii.gz": "nifti", "nrrd": "nrrd", "seg.nrrd": "seg-nrrd"}[suffix]
    assert main(["export", str(labels_path), "--to", target, "-o", str(tmp_path / f"out.{suffix}")]) == 0
    assert "code" not in capsys.readouterr().err
