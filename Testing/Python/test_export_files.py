"""Export to image files: one for all segments or one for each, with names, colours and codes."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.terminology import segment_terminology
from fewshot_annotate.core.volume import Geometry, LabelMap, default_segment
from fewshot_annotate.export.delivery import Report, deliver
from fewshot_annotate.export.preflight import check
from fewshot_annotate.export.request import ExportRequest, Remedy, Target
from fewshot_annotate.io.files import read_label_maps, write_label_maps
from fewshot_annotate.io.label_names import sidecar_path
from support.labels import OBLIQUE, oblique, overlapping_layers, small_case

NAMES = ("hippocampus left", "amygdala left")


def labels_with_known_names() -> LabelMap:
    """The real labels with names that suggest codes."""
    _, label_map = small_case()
    segments = tuple(
        replace(segment, name=name, colour=(0.2 + 0.1 * number, 0.4, 0.6))
        for number, (segment, name) in enumerate(zip(label_map.segments, NAMES, strict=True))
    )
    return LabelMap(label_map.array, label_map.geometry, segments)


def export(layers: tuple[LabelMap, ...], output: Path, target: Target, *agreed: Remedy, **more: Any) -> Report:
    request = ExportRequest(
        layers=layers,
        output=output,
        target=target,
        software_version="0.1.0",
        agreed=frozenset({Remedy.SUGGEST_CODES, *agreed}),
        **more,
    )
    report = deliver(check(request))
    assert report.verified, report.differences
    return report


def problems(
    layers: tuple[LabelMap, ...], output: Path, target: Target, **more: Any
) -> dict[str, tuple[Remedy, ...]]:
    found = check(
        ExportRequest(layers=layers, output=output, target=target, software_version="0.1.0", **more)
    ).blocking
    return {problem.error.code: problem.remedies for problem in found}


@pytest.mark.parametrize("target", [Target.NIFTI, Target.NRRD, Target.SEG_NRRD])
def test_one_file_holds_all_segments_with_names_colours_and_codes(target: Target, awkward_path: Path) -> None:
    label_map = labels_with_known_names()
    output = awkward_path / f"label{target.suffixes[0]}"
    report = export((label_map,), output, target)
    assert {*report.paths} == set(awkward_path.iterdir())
    (found,) = read_label_maps(output)
    assert (found.array == label_map.array).all()
    assert found.geometry.difference(label_map.geometry, 1e-3) is None
    for segment, name in zip(found.segments, NAMES, strict=True):
        assert segment.name == name
        assert np.allclose(segment.colour, label_map.segments[NAMES.index(name)].colour, atol=1e-5)
        terminology = segment_terminology(segment)
        assert terminology is not None
        assert terminology.description.lower().split() == ["left", name.split()[0]]


def test_codes_are_stored_in_the_seg_nrrd_itself(tmp_path: Path) -> None:
    output = tmp_path / "a.seg.nrrd"
    export((labels_with_known_names(),), output, Target.SEG_NRRD)
    assert not sidecar_path(output).exists()
    tags = sitk.ReadImage(str(output)).GetMetaData("Segment0_Tags")
    assert "TerminologyEntry:" in tags
    assert "SCT^5366008^Hippocampus~SCT^7771000^Left" in tags


@pytest.mark.parametrize("target", [Target.NIFTI, Target.NRRD, Target.SEG_NRRD])
def test_one_file_for_each_segment_is_named_after_it(target: Target, tmp_path: Path) -> None:
    label_map = labels_with_known_names()
    first, second = label_map.segments
    label_map = LabelMap(
        label_map.array, label_map.geometry, (replace(first, name="a/b: c"), replace(second, name="A b c"))
    )
    folder = tmp_path / "each"
    export((label_map,), folder, target, one_file_per_segment=True)
    suffix = target.suffixes[0]
    assert sorted(path.name for path in folder.glob(f"*{suffix}")) == [f"A_b_c_2{suffix}", f"a_b_c{suffix}"]
    for name, segment in ((f"a_b_c{suffix}", label_map.segments[0]), (f"A_b_c_2{suffix}", label_map.segments[1])):
        (found,) = read_label_maps(folder / name)
        assert (found.array == (label_map.array == segment.value)).all()
        assert found.segments[0].name == segment.name


def test_overlapping_segments_are_kept_or_refused_with_remedies(tmp_path: Path) -> None:
    _, label_map = small_case()
    layers = tuple(overlapping_layers(label_map, 3))
    for target in (Target.NIFTI, Target.NRRD):
        found = problems(layers, tmp_path / f"a{target.suffixes[0]}", target)
        assert found == {"export_overlap": (Remedy.ONE_FILE_PER_SEGMENT, Remedy.TO_SEG_NRRD)}
    assert list(tmp_path.iterdir()) == []
    export(layers, tmp_path / "a.seg.nrrd", Target.SEG_NRRD)
    read = read_label_maps(tmp_path / "a.seg.nrrd")
    assert [(layer.array == found.array).all() for layer, found in zip(layers, read, strict=True)] == [True] * 3
    export(layers, tmp_path / "each", Target.NIFTI, one_file_per_segment=True)
    masks = {
        segment.name: read_label_maps(path)[0].array.astype(bool)
        for path in (tmp_path / "each").glob("*.nii.gz")
        for segment in read_label_maps(path)[0].segments
    }
    for layer in layers:
        for segment in layer.segments:
            assert (masks[segment.name] == (layer.array == segment.value)).all()


@pytest.mark.parametrize("target", [Target.NIFTI, Target.NRRD, Target.SEG_NRRD])
def test_oblique_grids_keep_their_position(target: Target, tmp_path: Path) -> None:
    _, label_map = oblique(*small_case())
    export((label_map,), tmp_path / f"a{target.suffixes[0]}", target)
    (found,) = read_label_maps(tmp_path / f"a{target.suffixes[0]}")
    assert found.geometry.difference(label_map.geometry, 1e-3) is None
    assert np.allclose(found.geometry.direction, OBLIQUE, atol=1e-6)


def test_an_existing_file_is_overwritten_with_consent_and_its_old_names_removed(tmp_path: Path) -> None:
    label_map, output = labels_with_known_names(), tmp_path / "a.nii.gz"
    export((label_map,), output, Target.NIFTI)
    before = output.read_bytes()
    _, plain = small_case()
    without_names = LabelMap(plain.array, plain.geometry, tuple(default_segment(value) for value in plain.values))
    assert problems((without_names,), output, Target.NIFTI) == {"output_exists": (Remedy.OVERWRITE,)}
    assert output.read_bytes() == before
    export((without_names,), output, Target.NIFTI, Remedy.OVERWRITE)
    assert not sidecar_path(output).exists()
    assert [segment.name for segment in read_label_maps(output)[0].segments] == ["Label 1", "Label 2"]


def test_existing_names_without_a_label_map_need_consent_too(tmp_path: Path) -> None:
    sidecar_path(tmp_path / "a.nii.gz").write_text(json.dumps({"1": "another"}))
    assert "output_exists" in problems((labels_with_known_names(),), tmp_path / "a.nii.gz", Target.NIFTI)


def test_labels_are_written_on_a_given_reference_grid(tmp_path: Path) -> None:
    label_map = labels_with_known_names()
    x, y, z = label_map.geometry.origin
    half = replace(label_map.geometry, origin=(x + label_map.geometry.spacing[0] / 2, y, z))
    output = tmp_path / "a.nii.gz"
    assert problems((label_map,), output, Target.NIFTI, grid=half) == {"labels_off_grid": (Remedy.RESAMPLE,)}
    corner = np.array(half.direction).reshape(3, 3) @ (2 * np.array(half.spacing))
    larger = Geometry(
        tuple(size + 4 for size in label_map.geometry.shape),  # type: ignore[arg-type]
        label_map.geometry.spacing,
        tuple(np.array(label_map.geometry.origin) - corner),
        label_map.geometry.direction,
    )
    export((label_map,), output, Target.NIFTI, grid=larger)
    (found,) = read_label_maps(output)
    assert found.array.shape == larger.shape
    assert (found.array[2:-2, 2:-2, 2:-2] == label_map.array).all()


@pytest.mark.parametrize(
    ("name", "target"), [("a.dcm", Target.NIFTI), ("a.nii.gz", Target.NRRD), ("a.nrrd", Target.SEG_NRRD)]
)
def test_a_suffix_of_another_format_is_refused(name: str, target: Target, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        check(
            ExportRequest(
                layers=(labels_with_known_names(),), output=tmp_path / name, target=target, software_version="0.1.0"
            )
        )
    assert refused.value.code == "suffix_unknown"


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        check(
            ExportRequest(
                layers=(labels_with_known_names(),),
                output=tmp_path / "no" / "a.nii.gz",
                target=Target.NIFTI,
                software_version="0.1.0",
            )
        )
    assert refused.value.code == "output_unwritable"


def test_labels_without_voxels_are_refused(tmp_path: Path) -> None:
    label_map = labels_with_known_names()
    empty = label_map.with_array(np.zeros_like(label_map.array))
    assert problems((empty,), tmp_path / "a.nii.gz", Target.NIFTI) == {"labels_empty": ()}


def test_layers_that_do_not_overlap_become_one_file(tmp_path: Path) -> None:
    label_map = labels_with_known_names()
    layers = tuple(
        LabelMap(
            np.where(label_map.array == s.value, 1, 0).astype(np.uint8), label_map.geometry, (replace(s, value=1),)
        )
        for s in label_map.segments
    )
    export(layers, tmp_path / "a.nii.gz", Target.NIFTI)
    (found,) = read_label_maps(tmp_path / "a.nii.gz")
    assert [segment.name for segment in found.segments] == list(NAMES)
    for number, segment in enumerate(found.segments):
        assert ((found.array == segment.value) == (layers[number].array == 1)).all()


def test_a_label_map_on_its_own_grid_is_read_back_unchanged(tmp_path: Path) -> None:
    _, label_map = oblique(*small_case())
    write_label_maps(tmp_path / "a.nrrd", [label_map])
    (found,) = read_label_maps(tmp_path / "a.nrrd")
    assert found.geometry.difference(label_map.geometry) is None


def test_a_folder_of_files_appears_complete_and_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    output = tmp_path / "each"
    old = os.umask(0)
    try:
        export((labels_with_known_names(),), output, Target.NIFTI, one_file_per_segment=True)
    finally:
        os.umask(old)
    assert stat.S_IMODE(output.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == [output]
    assert len(list(output.glob("*.nii.gz"))) == len(NAMES)
