"""The public Python API: accepted types of volumes and labels, and what is returned."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import fewshot_annotate as fsa
import numpy as np
import pytest
import SimpleITK as sitk
from support.data import load_case
from support.processes import PACKAGE_PARENT

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("forked_workers")

SPACING = (0.8, 0.9, 2.5)


@pytest.fixture(scope="module")
def box() -> tuple[np.ndarray, np.ndarray]:
    """A bright box in noise [9, 16, 18], and its labels on slices 0, 4 and 8."""
    truth = np.zeros((9, 16, 18), dtype=np.uint8)
    truth[:, 4:11, 5:12] = 1
    image = np.random.default_rng(3).normal(0, 5, truth.shape) + 100 * truth
    painted = truth.copy()
    painted[[index for index in range(9) if index % 4]] = 0
    return image.astype(np.float32), painted


def itk(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((3, -7, 11))
    return image


def test_a_box_is_filled_from_arrays(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    filled = fsa.fill(image, painted, engine="propagate")
    truth = np.zeros_like(painted)
    truth[:, 4:11, 5:12] = 1
    assert (filled.labels == truth).mean() > 0.99
    assert (filled.labels[::4] == painted[::4]).all()
    assert (filled.confidence[::4] == 1).all()
    assert filled.engine == "propagate"
    assert (filled.axis.index, filled.plane, filled.labelled_slices) == (0, "axial", (0, 4, 8))
    assert filled.filled_slices == (1, 2, 3, 5, 6, 7)


def test_results_are_displayed_without_their_voxels(box: tuple[np.ndarray, np.ndarray]) -> None:
    filled = fsa.fill(*box, engine="propagate", axis=0)
    comparison = fsa.compare(*box, engines=["propagate"], axis=0, draws=1)
    for result in (filled, filled.layers[0], comparison, fsa.Volume(box[0], filled.layers[0].geometry)):
        assert "array(" not in repr(result)
    assert "engine='propagate'" in repr(filled)


def test_a_volume_of_true_and_false_is_filled_as_one_of_ones_and_zeros(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    bright = image > 50
    results = [fsa.fill(bright, painted, also=[bright], engine="propagate")]
    results.append(fsa.fill(bright.astype(np.uint8), painted, also=[bright.astype(np.uint8)], engine="propagate"))
    np.testing.assert_array_equal(results[0].labels, results[1].labels)


def test_a_complex_volume_is_refused_before_the_run(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    with pytest.raises(fsa.InputError) as refused:
        fsa.fill(image.astype(np.complex64), painted, engine="propagate")
    assert refused.value.code == "not_scalar"


@pytest.mark.parametrize("slices", [(2, 4), [2, 4], range(2, 4), np.array([2, 4])], ids=repr)
def test_a_slice_range_may_be_any_pair_of_numbers(box: tuple[np.ndarray, np.ndarray], slices: Any) -> None:
    assert fsa.fill(*box, engine="propagate", slices=slices).filled_slices == (2, 3)


@pytest.mark.parametrize("slices", ["none", (3, 1), (2, 2), (3,), (1, 2, 3), (1.5, 3), ("1", "3"), 5], ids=repr)
def test_what_is_no_slice_range_is_refused(box: tuple[np.ndarray, np.ndarray], slices: Any) -> None:
    with pytest.raises(fsa.InputError, match=r"not a (slice range|list of slice numbers)"):
        fsa.fill(*box, engine="propagate", slices=slices)
    with pytest.raises(fsa.InputError, match=r"not a (slice range|list of slice numbers)"):
        fsa.suggest(*box, slices=slices)


def test_labelled_slices_may_be_an_array(box: tuple[np.ndarray, np.ndarray]) -> None:
    filled = fsa.fill(*box, engine="propagate", labelled_slices=np.array([0, 4]))
    assert filled.labelled_slices == (0, 4)


@pytest.mark.parametrize("labelled", [["0"], [0.5], [True, False], [float("nan")]], ids=repr)
def test_what_is_no_slice_number_is_refused(box: tuple[np.ndarray, np.ndarray], labelled: Any) -> None:
    with pytest.raises(fsa.InputError, match="not a list of slice numbers"):
        fsa.fill(*box, engine="propagate", labelled_slices=labelled)


def test_a_volume_of_long_doubles_is_filled(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    filled = fsa.fill(image.astype(np.longdouble), painted, engine="propagate")
    np.testing.assert_array_equal(filled.labels, fsa.fill(image, painted, engine="propagate").labels)


@pytest.mark.parametrize("dtype", [np.float16, ">f2", ">i2", np.int64])
def test_labels_of_any_number_type_are_read(box: tuple[np.ndarray, np.ndarray], dtype: Any) -> None:
    image, painted = box
    filled = fsa.fill(image, painted.astype(dtype), engine="propagate")
    np.testing.assert_array_equal(filled.labels[::4], painted[::4])
    assert filled.labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"also": "/T2.nii.gz"}, "Argument also is of type str; give list[str | Path"),  # '/' names the whole machine
        ({"also": [5]}, "Argument also is of type list[int]; give list["),
        ({"also": None}, "Argument also is of type NoneType; give list["),
        ({"options": "steps"}, "Argument options is of type str; give dict[str, "),
        ({"options": {1: 2}}, "Argument options is of type dict[int, int]; give dict[str, "),
        ({"options": [("steps",)]}, "Argument options is of type list[tuple]; give dict[str, "),
        ({"task": 5}, "Argument task is of type int; give str | Path."),
        ({"partial": "no"}, "Argument partial is of type str; give bool."),
        ({"on_event": "print"}, "Argument on_event is of type str; give Callable[[Event], None]."),
        ({"volume": None}, "Argument volume is of type NoneType; give str | Path | SimpleITK.Image"),
        ({"volume": np.array([object()])}, "Argument volume is of type ndarray[object]; give str | Path"),
        ({"volume": ""}, "Argument volume is an empty path; give the path"),
        ({"volume": np.zeros((0, 5, 5))}, "The volume: it holds 0 x 5 x 5 voxels"),
        ({"volume": sitk.Image([4, 4, 4], sitk.sitkVectorFloat32)}, "The volume: the image has 3 values per voxel"),
        ({"labels": [np.zeros((9, 16, 18))]}, "Argument labels is of type list[ndarray]; give str | Path"),
        ({"labels": np.zeros((3, 3))}, "The labels: the image has 2 dimensions"),
        ({"labelled_slices": 5}, "'5' is not a list of slice numbers"),
        ({"labelled_slices": "3,10"}, "'3,10' is not a list of slice numbers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_argument_of_a_wrong_type_is_refused_by_its_name(
    box: tuple[np.ndarray, np.ndarray], arguments: dict[str, Any], found: str
) -> None:
    image, painted = box
    with pytest.raises(fsa.InputError) as refused:
        fsa.fill(**{"volume": image, "labels": painted, "engine": "propagate", **arguments})
    assert str(refused.value).startswith(found)


def test_arguments_of_a_wrong_type_are_refused_by_every_function(
    box: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    image, painted = box
    calls = [
        lambda: fsa.read_volume(None),  # type: ignore[arg-type]
        lambda: fsa.read_volume(""),
        lambda: fsa.read_labels(5),  # type: ignore[arg-type]
        lambda: fsa.suggest(image, None),  # type: ignore[arg-type]
        lambda: fsa.compare(image, painted, engines="propagate"),
        lambda: fsa.compare(image, painted, engines=[]),
        lambda: fsa.compare(image, painted, engines=["propagate"], sizes=5),  # type: ignore[arg-type]
        lambda: fsa.export_labels(painted, 5),  # type: ignore[arg-type]
        lambda: fsa.export_labels(painted, tmp_path / "a.nii.gz", codes="liver"),  # type: ignore[arg-type]
        lambda: fsa.export_labels(painted, tmp_path / "a.nii.gz", codes={"Label 1": None}),  # type: ignore[dict-item]
        lambda: fsa.export_labels(painted, tmp_path / "a.nii.gz", overwrite="no"),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(fsa.InputError):
            call()
    assert not list(tmp_path.iterdir())


def test_a_flag_may_be_given_as_numpy_gives_it(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    assert fsa.suggest(image, painted, partial=np.bool_(True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"draws": 0}, "number_invalid"),
        ({"draws": 10**9}, "number_invalid"),
        ({"draws": "many"}, "number_invalid"),
        ({"held_out": 0}, "number_invalid"),
        ({"held_out": 1.5}, "number_invalid"),
        ({"seed": -1}, "number_invalid"),
        ({"seed": "x"}, "number_invalid"),
        ({"seed": 1 << 70}, "number_invalid"),
        ({"sizes": [0]}, "sizes_malformed"),
        ({"sizes": [-1, 2]}, "sizes_malformed"),
        ({"sizes": [1.5]}, "sizes_malformed"),
        ({"sizes": "x"}, "sizes_malformed"),
        ({"device": "gpu"}, "device_unknown"),
        ({"seconds": -1}, "budget_invalid"),
        ({"axis": 5}, "axis_out_of_range"),
        ({"engines": ["nobody"]}, "engine_unknown"),
        ({"engines": [["propagate"]]}, "engine_unknown"),
    ],
    ids=str,
)
def test_a_wrong_option_of_a_comparison_is_refused(
    box: tuple[np.ndarray, np.ndarray], options: dict[str, Any], code: str
) -> None:
    with pytest.raises(fsa.InputError) as refused:
        fsa.compare(*box, **{"engines": ["propagate"], **options})
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"device": "gpu"}, "device_unknown"),
        ({"device": None}, "device_unknown"),
        ({"engine": "magic"}, "engine_unknown"),
        ({"engine": ["propagate"]}, "engine_unknown"),
        ({"seconds": "x"}, "budget_invalid"),
        ({"axis": 7}, "axis_out_of_range"),
        ({"engine": "adapt", "options": {"steps": -1}}, "option_invalid"),
    ],
    ids=str,
)
def test_a_wrong_option_of_a_fill_is_refused(
    box: tuple[np.ndarray, np.ndarray], options: dict[str, Any], code: str
) -> None:
    with pytest.raises(fsa.InputError) as refused:
        fsa.fill(*box, **{"engine": "propagate", **options})
    assert refused.value.code == code


@pytest.mark.parametrize("count", [0, -1, 1.5, "x"])
def test_what_is_no_count_of_suggestions_is_refused(box: tuple[np.ndarray, np.ndarray], count: Any) -> None:
    with pytest.raises(fsa.InputError, match="no number of slices"):
        fsa.suggest(*box, count=count)


def test_arrays_files_and_simpleitk_images_give_the_same_result(
    box: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    image, painted = box
    volume, labels = itk(image), itk(painted)
    sitk.WriteImage(volume, str(tmp_path / "image.nrrd"))
    sitk.WriteImage(labels, str(tmp_path / "labels.nrrd"))
    read = fsa.read_volume(tmp_path / "image.nrrd")
    inputs = [
        (volume, labels),
        (volume, painted),
        (str(tmp_path / "image.nrrd"), tmp_path / "labels.nrrd"),
        (read, fsa.read_labels(tmp_path / "labels.nrrd", read)),
        (read, fsa.LabelMap(painted, read.geometry, (fsa.Segment(value=1, name="box"),))),
    ]
    results = [fsa.fill(*pair, engine="propagate") for pair in inputs]
    assert all((result.labels == results[0].labels).all() for result in results)
    assert {result.layers[0].geometry.spacing for result in results} == {SPACING}
    assert results[-1].layers[0].segments[0].name == "box"


def test_labels_on_a_flipped_grid_are_resampled_to_the_grid_of_the_volume(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    painted = painted.copy()
    painted[4, 4:11, 5] = 0  # not symmetric
    flipped = sitk.Flip(itk(painted), (True, False, False))
    assert (fsa.fill(itk(image), flipped, engine="propagate").labels[::4] == painted[::4]).all()


def test_expected_dice_is_returned_by_segment_name() -> None:
    volume, label_map = load_case("mr_spine_cord_t2")
    array = np.zeros_like(label_map.array)
    array[::10] = label_map.array[::10]
    painted = label_map.with_array(array)
    filled = fsa.fill(volume, painted, engine="adapt", axis=0, options={"steps": 5})
    names = {segment.name for segment in label_map.segments}
    assert filled.expected_dice
    assert set(filled.expected_dice) <= names
    assert all(0 <= expected.low <= expected.dice <= expected.high <= 1 for expected in filled.expected_dice.values())


def test_labels_of_another_shape_are_refused(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    with pytest.raises(fsa.InputError, match="9 x 16 x 17 voxels and the volume has 9 x 16 x 18"):
        fsa.fill(image, painted[..., 1:])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd", ".nii"])
def test_an_exported_file_is_read_unchanged_by_another_reader(
    suffix: str, box: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    image, painted = box
    filled = fsa.fill(itk(image), painted, engine="propagate")
    path = tmp_path / f"box{suffix}"
    assert fsa.export_labels(filled, path)[0] == path
    read = sitk.ReadImage(str(path))
    assert (sitk.GetArrayFromImage(read) == filled.labels).all()
    assert read.GetSpacing() == pytest.approx(SPACING)
    with pytest.raises(fsa.InputError, match="there already"):
        fsa.export_labels(filled, path)
    assert fsa.export_labels(filled, path, overwrite=True)[0] == path
    with pytest.raises(fsa.InputError, match="unknown file type"):
        fsa.export_labels(filled, tmp_path / "box.xyz")


def test_dicom_seg_needs_its_series_and_is_read_by_highdicom(tmp_path: Path) -> None:
    import highdicom

    series = ROOT / "Testing" / "Data" / "dicom_ct" / "series"
    volume = fsa.read_volume(series)
    array = np.zeros(volume.array.shape, dtype=np.uint8)
    array[5:9, 40:90, 30:60] = 1
    labels = fsa.LabelMap(array, volume.geometry, (fsa.Segment(value=1, name="liver"),))
    with pytest.raises(fsa.InputError, match="series"):
        fsa.export_labels(labels, tmp_path / "liver.dcm", suggest_codes=True)
    (path, *_) = fsa.export_labels(labels, tmp_path / "liver.dcm", reference=series, suggest_codes=True)
    seg = highdicom.seg.segread(path)
    assert [seg.get_segment_description(number).segment_label for number in seg.segment_numbers] == ["liver"]
    assert seg.get_volume(segment_numbers=[1]).array.sum() == array.sum()


def test_overlapping_segments_come_back_in_their_layers(box: tuple[np.ndarray, np.ndarray]) -> None:
    image, painted = box
    volume = fsa.Volume(image, fsa.Geometry(image.shape))
    first, second = (
        fsa.LabelMap(painted, volume.geometry, (fsa.Segment(value=1, name=name),)) for name in ("box", "same box")
    )
    filled = fsa.fill(volume, [first, second], engine="propagate")
    assert [layer.segments[0].name for layer in filled.layers] == ["box", "same box"]
    with pytest.raises(fsa.InputError, match="layers"):
        _ = filled.labels


def test_the_examples_of_the_documentation_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(
        str(ROOT / "Resources" / "Documentation" / "python_api.md"), module_relative=False
    )
    assert tried > 10
    assert not failed


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, fewshot_annotate; print(*{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PACKAGE_PARENT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"numpy", "SimpleITK", "torch", "slicer", "qt"} & set(result.stdout.split())
    assert set(fsa.__all__) <= set(dir(fsa))
    for name in fsa.__all__:
        assert getattr(fsa, name).__doc__
