"""The command line with valid input: output files and exit codes."""

from __future__ import annotations

import csv
import json
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fewshot_annotate import __version__
from fewshot_annotate.cli import demo, main
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import LabelMap, Segment
from fewshot_annotate.engines.option import Option
from fewshot_annotate.export.algorithm import Algorithm, tagged
from fewshot_annotate.io.files import read_label_maps, read_volume, write_label_maps
from support.case_folder import AXIS, CaseFolder
from support.data import REPOSITORY_CASES, load_case
from support.labels import every_nth, keep_slices, overlapping_layers, small_case
from support.processes import Spawned

pytestmark = pytest.mark.usefixtures("forked_workers")


def test_labelled_slices_come_back_exactly_and_those_between_are_filled(case_folder: CaseFolder) -> None:
    assert main(case_folder.fill()) == 0
    (filled,) = read_label_maps(case_folder.output, case_folder.volume.geometry)
    assert filled.geometry.difference(case_folder.volume.geometry, 1e-6) is None
    slices = AXIS.slices(filled.array)
    for index in case_folder.indices:
        assert np.array_equal(slices[index], AXIS.slices(case_folder.support.array)[index])
    between = [
        index for index in range(case_folder.indices[0], case_folder.indices[-1]) if index not in case_folder.indices
    ]
    assert slices[between].any(axis=(1, 2)).all()
    assert not slices[: case_folder.indices[0]].any()
    assert not slices[case_folder.indices[-1] + 1 :].any()
    assert (
        sorted(file.name for file in case_folder.folder.iterdir() if "filled" in file.name)[0]
        == case_folder.output.name
    )
    assert not list((case_folder.folder / "temporary").iterdir()), "the temporary run folder is removed"


@pytest.mark.parametrize(("axis", "suffix"), [(0, ".seg.nrrd"), (1, ".nrrd"), (1, ".mha"), (2, ".nii")])
def test_slices_along_any_axis_are_filled_in_any_format(axis: int, suffix: str, case_folder: CaseFolder) -> None:
    label_map = small_case()[1]
    slice_axis = SliceAxis(axis)
    indices = every_nth(label_map, slice_axis, 8)
    support = keep_slices(label_map, slice_axis, indices)
    case_folder.put_support(support)
    output = case_folder.folder / f"out{suffix}"
    assert main(case_folder.fill("-o", output)) == 0
    (filled,) = read_label_maps(output, case_folder.volume.geometry)
    assert np.array_equal(slice_axis.slices(filled.array)[indices], slice_axis.slices(support.array)[indices])
    assert np.count_nonzero(filled.array) > 2 * np.count_nonzero(support.array)
    assert [segment.name for segment in filled.segments] == [segment.name for segment in support.segments]


def test_all_slices_are_filled_on_request(case_folder: CaseFolder) -> None:
    first, last = case_folder.indices[1], case_folder.indices[2]
    case_folder.put_support(keep_slices(case_folder.support, AXIS, [first, last]))
    assert main(case_folder.fill("--slices", "all")) == 0
    slices = AXIS.slices(read_label_maps(case_folder.output, case_folder.volume.geometry)[0].array)
    assert slices[first - 1].any()
    assert slices[last + 1].any()


def test_a_range_of_slices_is_filled_on_request(case_folder: CaseFolder) -> None:
    first, second = case_folder.indices[:2]
    assert main(case_folder.fill("--slices", f"{first + 2}:{second - 1}")) == 0
    slices = AXIS.slices(read_label_maps(case_folder.output, case_folder.volume.geometry)[0].array)
    assert np.flatnonzero(slices.any(axis=(1, 2))).tolist() == sorted(
        {*case_folder.indices, *range(first + 2, second - 1)}
    )


def test_a_slice_labelled_and_empty_stays_empty(case_folder: CaseFolder) -> None:
    empty = case_folder.indices[1]
    case_folder.put_support(
        keep_slices(case_folder.support, AXIS, [index for index in case_folder.indices if index != empty])
    )
    labelled = ",".join(map(str, case_folder.indices))
    assert main(case_folder.fill("--axis", "0", "--labelled-slices", labelled)) == 0
    slices = AXIS.slices(read_label_maps(case_folder.output, case_folder.volume.geometry)[0].array)
    assert not slices[empty].any()


def test_labels_on_unnamed_slices_do_not_influence_the_result(
    case_folder: CaseFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    complete = small_case()[1]
    case_folder.put_support(complete)
    labelled = ",".join(map(str, case_folder.indices))
    assert main(case_folder.fill("--axis", "0", "--labelled-slices", labelled)) == 0
    assert "Note: Labels on slices that were not named as labelled are not in the result: " in capsys.readouterr().err
    from_complete = case_folder.output.read_bytes()
    case_folder.put_support(keep_slices(complete, AXIS, case_folder.indices))
    assert main(case_folder.fill("--axis", "0")) == 0
    assert case_folder.output.read_bytes() == from_complete


def test_the_confidence_is_between_0_and_1_and_1_on_labelled_slices(case_folder: CaseFolder) -> None:
    path = case_folder.folder / "confidence.nii.gz"
    assert main(case_folder.fill("--confidence", path)) == 0
    confidence = read_volume(path)
    slices = AXIS.slices(confidence.array)
    assert confidence.geometry.difference(case_folder.volume.geometry, 1e-6) is None
    assert 0 <= slices.min() <= slices.max() <= 1
    assert (slices[case_folder.indices] == 1).all()
    assert slices[case_folder.indices[0] + 3].min() > 0
    assert not slices[: case_folder.indices[0]].any()


@pytest.mark.parametrize("count", [2, 3])
def test_overlapping_segments_are_filled_separately_and_keep_names_and_colours(
    count: int, case_folder: CaseFolder
) -> None:
    layers = [keep_slices(layer, AXIS, case_folder.indices) for layer in overlapping_layers(small_case()[1], count)]
    support, output = case_folder.folder / "support.seg.nrrd", case_folder.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    assert main(["fill", str(case_folder.image), str(support), "-o", str(output), "--progress", "none"]) == 0
    filled = read_label_maps(output, case_folder.volume.geometry)
    assert len(filled) == count
    for before, after in zip(layers, filled, strict=True):
        (expected,) = tagged([before], Algorithm("FewShotAnnotate propagate", __version__))
        assert after.segments == expected.segments
        assert np.array_equal(
            AXIS.slices(after.array)[case_folder.indices], AXIS.slices(before.array)[case_folder.indices]
        )
        assert AXIS.slices(after.array)[case_folder.indices[0] + 3].any()
    both = (filled[0].array != 0) & (filled[1].array != 0)
    assert AXIS.slices(both)[case_folder.indices[0] + 3].any(), "they still overlap between the labelled slices"


def test_layers_that_do_not_overlap_are_written_as_one_label_map(case_folder: CaseFolder) -> None:
    layers = [
        LabelMap(
            (case_folder.support.array == value).astype(np.uint8),
            case_folder.support.geometry,
            (Segment(value=1, name=f"part {value}"),),
        )
        for value in (1, 2)
    ]
    support = case_folder.folder / "support.seg.nrrd"
    write_label_maps(support, layers)
    assert (
        main(["fill", str(case_folder.image), str(support), "-o", str(case_folder.output), "--progress", "none"]) == 0
    )
    (filled,) = read_label_maps(case_folder.output, case_folder.volume.geometry)
    assert [segment.name for segment in filled.segments] == ["part 1", "part 2"]
    expected = np.where(case_folder.support.array <= 2, case_folder.support.array, 0)
    assert np.array_equal(AXIS.slices(filled.array)[case_folder.indices], AXIS.slices(expected)[case_folder.indices])


def test_a_layer_without_labels_on_the_named_slices_is_empty_in_the_output(case_folder: CaseFolder) -> None:
    first, *rest = case_folder.indices
    layers = overlapping_layers(small_case()[1], 2)
    layers = [keep_slices(layers[0], AXIS, rest), keep_slices(layers[1], AXIS, [first])]
    support, output = case_folder.folder / "support.seg.nrrd", case_folder.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    labelled = ",".join(map(str, rest))
    command = ["fill", str(case_folder.image), str(support), "-o", str(output), "--progress", "none"]
    assert main([*command, "--axis", "0", "--labelled-slices", labelled]) == 0
    filled = read_label_maps(output, case_folder.volume.geometry)
    assert filled[0].array.any()
    assert not filled[1].array.any()


def test_a_dicom_folder_is_read_as_an_image(tmp_path: Path) -> None:
    image = read_volume(REPOSITORY_CASES / "dicom_ct" / "series")
    label_map = load_case("dicom_ct")[1]
    aorta = LabelMap((label_map.array == 52).astype(np.uint8), image.geometry)
    write_label_maps(tmp_path / "support.nrrd", [keep_slices(aorta, AXIS, [4, 7])])
    series = str(REPOSITORY_CASES / "dicom_ct" / "series")
    output = tmp_path / "out.nrrd"
    assert main(["fill", series, str(tmp_path / "support.nrrd"), "-o", str(output), "--progress", "none"]) == 0
    (filled,) = read_label_maps(output, image.geometry)
    assert AXIS.slices(filled.array)[5].any()
    assert main(["fill", series, str(tmp_path / "support.nrrd"), "-o", f"{series}/out.nrrd"]) == 2


def test_models_list_names_every_engine_and_whether_it_can_run(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    out, _ = capfd.readouterr()
    (line,) = [line for line in out.splitlines() if "│ propagate" in line]
    assert "ready" in line
    (line,) = [line for line in out.splitlines() if "│ sam-vit-b" in line]
    assert "Apache-2.0" in line


def test_models_list_fits_a_terminal_of_80_columns(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models", "list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) < 70
    assert all(len(line) <= 80 for line in lines if "│" in line)


def test_models_info_lists_the_options_of_an_engine(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models", "info", "adapt"]) == 0
    out, _ = capfd.readouterr()
    assert "a whole number from 1 to 100000" in out
    assert "--option NAME=VALUE" in out


def test_ranges_of_options_are_printed_without_exponents() -> None:
    assert str(Option(5, "", minimum=0, maximum=1000000).allowed()) == "a whole number from 0 to 1000000"
    assert str(Option(0.5, "", minimum=0.25, maximum=3).allowed()) == "a number from 0.25 to 3"


@pytest.mark.slow
def test_the_demo_fills_a_brain_and_prints_dice(tmp_path: Path, spawned: Spawned) -> None:
    from PIL import Image

    output = tmp_path / "new" / "demo"
    program = spawned.cli("demo", "-o", output, "--progress", "json")
    out, err = program.communicate(timeout=200)
    assert program.returncode == 0, err
    *_, last = [event for event in map(json.loads, out.splitlines()) if event["event"] == "progress"]
    assert last["eta"] > 0, "the files are still to be written"
    scores = {name: float(score) for name, score in re.findall(r"Dice (\w+ matter)\s+(0\.\d+)", err)}
    assert set(scores) == {"grey matter", "white matter"}
    assert min(scores.values()) > 0.6
    volume, _ = load_case("mni152")
    (filled,) = read_label_maps(output / "label.nii.gz", volume.geometry)
    assert [segment.name for segment in filled.segments] == ["grey matter", "white matter"]
    with Image.open(output / "contact-sheet.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 20


def test_the_demo_refuses_a_file_as_its_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["demo", "-o", str(tmp_path / "file")]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_the_demo_writes_its_results_elsewhere_if_its_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    output, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))

    def filled(runs: object, layers: list[LabelMap], *_: object, **__: object) -> SimpleNamespace:
        (output / "label.nii.gz").mkdir()  # so that the label map cannot be written
        return SimpleNamespace(layers=layers)

    monkeypatch.setattr(demo, "run_all", filled)
    assert main(["demo", "-o", str(output), "--progress", "none"]) == 1
    assert (output / "contact-sheet.png").stat().st_size
    (kept,) = elsewhere.glob("*/label.nii.gz")
    assert str(kept) in capfd.readouterr().err


def test_a_preview_without_pillow_is_refused_before_the_run(
    case_folder: CaseFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)  # as if it were not installed
    assert main(case_folder.fill("--preview", str(case_folder.folder / "preview.png"))) == 2
    assert "The package pillow is missing; install it with:" in capsys.readouterr().err
    assert not case_folder.output.exists()


def test_fill_writes_a_picture_and_statistics(case_folder: CaseFolder) -> None:
    picture, table = case_folder.folder / "preview.png", case_folder.folder / "statistics.csv"
    assert main(case_folder.fill("--engine", "propagate", "--preview", str(picture), "--statistics", str(table))) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    filled = read_volume(case_folder.output).array
    assert [int(row["voxels"]) for row in rows] == [int((filled == int(row["label"])).sum()) for row in rows]
