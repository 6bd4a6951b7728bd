"""Layers of a .seg.nrrd: as other readers see them, merged where they do not overlap, and partially annotated."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
from fewshot_annotate.cli import main
from fewshot_annotate.core.layers import merge_disjoint
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from fewshot_annotate.jobs.planning import EngineSettings, FillRequest, plan
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from support.labels import OBLIQUE, oblique, overlapping_layers, small_case

pytestmark = pytest.mark.usefixtures("forked_workers")

GRID = Geometry((13, 20, 24), (0.7, 0.8, 2.5), (-31.5, 12.25, -204.7), OBLIQUE)
UPRIGHT = Geometry(GRID.shape)


def block(name: str, columns: slice, value: int = 1, slices: tuple[int, ...] = (0, 4, 8, 12)) -> LabelMap:
    """A segment in a layer of its own, painted on some slices."""
    array = np.zeros(GRID.shape, np.uint8)
    for k in slices:
        array[k, 5:15, columns] = value
    return LabelMap(
        array,
        GRID,
        (Segment(value=value, name=name, colour=(0.5, 0.25, 1), tags={"note": name}, segment_id=f"id of {name}"),),
    )


def image_file(folder: Path) -> Path:
    array = np.random.default_rng(0).normal(0, 5, GRID.shape).astype(np.float32)
    array[:, 5:15, 2:8] += 100
    array[:, 5:15, 14:20] += 60
    write_array(folder / "image.nrrd", array, GRID)
    return folder / "image.nrrd"


def described(layers: list[LabelMap]) -> list[list[tuple[int, str, str]]]:
    return [[(segment.value, segment.name, segment.segment_id) for segment in layer.segments] for layer in layers]


# --- other readers


@pytest.mark.parametrize("count", [2, 3, 5])
def test_layers_are_a_list_dimension_that_other_readers_accept(count: int, tmp_path: Path) -> None:
    _, label_map = oblique(*small_case())
    layers = overlapping_layers(label_map, count)
    path = tmp_path / "a.seg.nrrd"
    write_label_maps(path, layers)
    assert b"\nkinds: list domain domain domain\n" in path.read_bytes()[:4000]
    voxels, header = nrrd.read(str(path))
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    for number, layer in enumerate(layers):
        assert np.array_equal(voxels[number].T, layer.array)
    found = slicerio.read_segmentation(str(path))
    # pynrrd, with which slicerio reads, leaves out letters that are not ASCII.
    names = [segment.name.encode("ascii", "ignore").decode() for layer in layers for segment in layer.segments]
    assert [segment["name"] for segment in found["segments"]] == names
    ordered = slicerio.extract_segments(found, [(name, number) for number, name in enumerate(names, start=1)], False)
    assert len(ordered["segments"]) == len(names)
    for segment in found["segments"]:
        layer = layers[int(segment["layer"])]
        assert np.array_equal(
            int(segment["labelValue"]) == found["voxels"][int(segment["layer"])].T,
            layer.array == int(segment["labelValue"]),
        )
    image = sitk.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == count


# --- merging


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 5),
    labels=st.integers(1, 3),
    large_values=st.booleans(),
)
def test_merged_layers_hold_every_label_once_and_can_be_separated_again(
    seed: int, count: int, labels: int, large_values: bool
) -> None:
    random = np.random.default_rng(seed)
    grid = Geometry((3, 4, 5))
    layers = []
    for number in range(count):
        array = random.integers(0, labels + 1, grid.shape) * (random.random(grid.shape) < 0.3)
        array = array * 300 if large_values and number % 2 else array
        segments = tuple(
            Segment(
                value=value * (300 if large_values and number % 2 else 1),
                name=f"{number} {value}",
                segment_id=f"{number}{value}",
            )
            for value in range(1, labels + 1)
        )
        layers.append(LabelMap(array.astype(np.uint16 if large_values else np.uint8), grid, segments))
    merged = merge_disjoint(layers)
    count_before = sum(int(np.count_nonzero(layer.array)) for layer in layers)
    assert sum(int(np.count_nonzero(layer.array)) for layer in merged.layers) == count_before
    for layer in merged.layers:
        assert len(set(layer.values)) == len(layer.values)
    restored = merged.restore(merged.layers)
    assert described(restored) == described(layers)
    for found, layer in zip(restored, layers, strict=True):
        assert found.array.dtype == layer.array.dtype
        assert np.array_equal(found.array, layer.array)
    overlap = any(
        ((one.array != 0) & (other.array != 0)).any()
        for number, one in enumerate(layers)
        for other in layers[:number]
    )
    assert overlap or len(merged.layers) == 1


def test_layers_that_do_not_overlap_are_filled_in_one_run_and_written_separately(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layers = [block("left", slice(2, 8)), block("right", slice(14, 20), 7), block("between", slice(8, 14))]
    image, support, output = image_file(tmp_path), tmp_path / "a.seg.nrrd", tmp_path / "out.seg.nrrd"
    write_label_maps(support, layers)
    command = ["fill", str(image), str(support), "-o", str(output), "--engine", "propagate", "--progress", "none"]
    assert main([*command, "--job-dir", str(tmp_path / "job")]) == 0
    assert (tmp_path / "job" / "job.json").is_file(), "one run, not one for each layer"
    capfd.readouterr()
    filled = read_label_maps(output)
    assert described(filled) == described(layers)
    for layer, before in zip(filled, layers, strict=True):
        assert np.array_equal(layer.array[[0, 4, 8, 12]], before.array[[0, 4, 8, 12]])
        assert layer.array.any(axis=(1, 2)).all()
    assert not np.any(np.sum([layer.array != 0 for layer in filled], axis=0) > 1), "they do not overlap afterwards"


def test_only_layers_that_overlap_are_filled_separately(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layers = [block("left", slice(2, 8)), block("both", slice(2, 20)), block("right", slice(14, 20))]
    merged = merge_disjoint(layers)
    assert described(merged.layers) == [
        [(1, "left", "id of left"), (2, "right", "id of right")],
        [(1, "both", "id of both")],
    ]
    image, support, output = image_file(tmp_path), tmp_path / "a.seg.nrrd", tmp_path / "out.seg.nrrd"
    write_label_maps(support, layers)
    command = ["fill", str(image), str(support), "-o", str(output), "--engine", "propagate", "--progress", "none"]
    assert main(command) == 0
    capfd.readouterr()
    filled = read_label_maps(output)
    assert described(filled) == described(layers)
    for layer, before in zip(filled, layers, strict=True):
        assert np.array_equal(layer.array[[0, 4, 8, 12]], before.array[[0, 4, 8, 12]])


@pytest.mark.parametrize("layer_of_segment", [(1, 0, 2, 0), (0, 1, 0, 1), (2, 2, 1, 0), (0, 1, 2, 3)], ids=str)
def test_segments_are_written_in_the_order_of_the_input_file(
    layer_of_segment: tuple[int, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layers, labels = overlapping_segments(layer_of_segment)
    header: dict[str, object] = {"kinds": ["list", "domain", "domain", "domain"], "space": "left-posterior-superior"}
    header |= {"space directions": [[np.nan] * 3, *np.eye(3).tolist()], "space origin": [0, 0, 0]}
    for number, (layer, label) in enumerate(zip(layer_of_segment, labels, strict=True)):
        names = {"ID": f"id{number}", "Name": f"S{number}", "Layer": str(layer), "LabelValue": str(label)}
        header |= {f"Segment{number}_{name}": text for name, text in names.items()}
    support, output, seg = tmp_path / "a.seg.nrrd", tmp_path / "out.seg.nrrd", tmp_path / "seg.dcm"
    nrrd.write(str(support), layers.transpose(0, 3, 2, 1), header)
    image = tmp_path / "upright.nrrd"
    write_array(image, np.random.default_rng(0).normal(0, 5, UPRIGHT.shape).astype(np.float32), UPRIGHT)
    command = ["fill", str(image), str(support), "-o", str(output), "--engine", "propagate"]
    assert main([*command, "--progress", "none"]) == 0
    found = slicerio.read_segmentation(str(output))
    listed = [(segment["name"], int(segment["layer"]), int(segment["labelValue"])) for segment in found["segments"]]
    assert listed == [
        (f"S{number}", *stored) for number, stored in enumerate(zip(layer_of_segment, labels, strict=True))
    ]
    command = ["export", str(output), "--to", "dicom-seg", "-o", str(seg), "--default-code", "--derive-series"]
    assert main([*command, str(tmp_path / "series"), "--image", str(image)]) == 0
    capfd.readouterr()
    assert [str(item.SegmentLabel) for item in dcmread(seg).SegmentSequence] == ["S0", "S1", "S2", "S3"]


def overlapping_segments(layer_of_segment: tuple[int, ...]) -> tuple[np.ndarray, list[int]]:
    """Voxels [layer, k, j, i] of columns that overlap, on every 4th slice, and the label value of each segment."""
    layers = np.zeros((max(layer_of_segment) + 1, *UPRIGHT.shape), np.uint8)
    labels = []
    for number, layer in enumerate(layer_of_segment):
        labels.append(1 + int(layers[layer].max()))
        layers[layer, ::4, 2 + 3 * number : 6 + 3 * number, 3:8] = labels[-1]
    return layers, labels


# --- partially annotated


def paired(layered: bool) -> list[LabelMap]:
    """Left painted on some slices, right on others."""
    left = block("left", slice(2, 8), 1, (0, 4, 8, 12))
    right = block("right", slice(14, 20), 2, (0, 6, 12))
    if layered:
        return [left, right]
    return [LabelMap(left.array + right.array, GRID, left.segments + right.segments)]


@pytest.mark.parametrize("layered", [False, True], ids=["one layer", "a layer each"])
def test_paired_structures_painted_on_different_slices_need_the_option_partial(
    layered: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image, support = image_file(tmp_path), tmp_path / "a.seg.nrrd"
    write_label_maps(support, paired(layered))

    def dice(*options: str) -> list[float]:
        output = tmp_path / f"out{len(options)}.seg.nrrd"
        quick = ["-o", str(output), "--engine", "propagate", "--progress", "none"]
        assert main(["fill", str(image), str(support), *quick, *options]) == 0
        capfd.readouterr()
        found = []
        masks = {
            segment.name: layer.array == segment.value
            for layer in read_label_maps(output)
            for segment in layer.segments
        }
        for name, columns in (("left", slice(2, 8)), ("right", slice(14, 20))):
            mask = masks[name]
            truth = np.zeros(GRID.shape, bool)
            truth[:, 5:15, columns] = True
            query = [1, 2, 3, 5, 7, 9, 10, 11]
            overlap = np.count_nonzero(mask[query] & truth[query])
            found.append(2 * overlap / (np.count_nonzero(mask[query]) + np.count_nonzero(truth[query])))
        return found

    assert min(dice()) < 0.9
    assert min(dice("--partial")) > 0.95


@pytest.mark.parametrize("layered", [False, True], ids=["one layer", "a layer each"])
def test_a_slice_is_annotated_only_for_labels_painted_on_it_and_an_empty_one_for_all(layered: bool) -> None:
    volume = Volume(np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32), GRID)
    # A third layer overlaps the left one, so that layers stay apart.
    layers = [*paired(layered), block("again", slice(2, 8), 1, (4,))]
    request = FillRequest(
        volume=volume,
        layers=layers,
        axis=SliceAxis(0),
        labelled_slices=[0, 2, 4, 6, 8, 12],
        settings=EngineSettings("propagate"),
        complete=False,
    )
    annotated = {}
    for run in plan(request):
        for label_index, value in enumerate(run.support.labels):
            (name,) = [segment.name for segment in layers[run.layer].segments if segment.value == value]
            annotated[name] = [
                index
                for index, row in zip(run.support.indices, run.support.annotated, strict=True)
                if row[label_index]
            ]
    assert annotated == {"left": [0, 2, 4, 8, 12], "right": [0, 2, 6, 12], "again": [2, 4]}


@pytest.mark.parametrize("command", ["suggest", "compare", "batch"])
def test_other_commands_accept_the_option_partial_too(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image, support = image_file(tmp_path), tmp_path / "a.seg.nrrd"
    write_label_maps(support, paired(layered=True))
    (tmp_path / "cases.csv").write_text(f"name,image,support\na,{image},{support}\n")
    out = str(tmp_path / "out")
    quick = ["--engines", "propagate", "--sizes", "1", "--draws", "1", "--held-out", "1", "--progress", "none"]
    arguments = {
        "suggest": [str(image), str(support)],
        "compare": [str(image), str(support), "-o", out, *quick],
        "batch": [str(tmp_path / "cases.csv"), "-o", out, "--engine", "propagate", "--progress", "none"],
    }[command]
    assert main([command, *arguments, "--partial"]) == 0
    capfd.readouterr()
    if command == "batch":
        (filled,) = read_label_maps(tmp_path / "out" / "a" / "label.nii.gz")
        assert (filled.array[5, 5:15, 14:20] == 2).mean() > 0.9
        assert (filled.array[2, 5:15, 2:8] == 1).mean() > 0.9


# --- nothing painted yet


@pytest.mark.parametrize("sizes", ["1 1 1", "0 0 0", "2 0 5 6"])
def test_a_segmentation_saved_before_painting_is_reported_as_empty_and_not_as_damaged(
    sizes: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image, support = image_file(tmp_path), tmp_path / "a.seg.nrrd"
    count = len(sizes.split())
    directions = " ".join(["none"] * (count - 3) + ["(-1,0,0)", "(0,-1,0)", "(0,0,1)"])
    header = (
        f"NRRD0004\ntype: unsigned char\ndimension: {count}\nspace: left-posterior-superior\nsizes: {sizes}\n"
        f"space directions: {directions}\nkinds: {'list ' * (count - 3)}domain domain domain\nencoding: raw\n"
        "space origin: (0,0,0)\nSegment0_ID:=a\nSegment0_Name:=liver\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"
        "Segment0_Extent:=0 -1 0 -1 0 -1\n\n"
    )
    support.write_bytes(header.encode() + (b"\0" if "0" not in sizes.split() else b""))
    assert main(["fill", str(image), str(support), "-o", str(tmp_path / "out.nii.gz"), "--progress", "none"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"fewshot-annotate: {support}: no slice is labelled; paint at least two slices first."


def test_a_segmentation_that_slicer_saved_before_painting_is_reported_as_empty(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import slicer
    from support import mrml

    mrml.start_mrml()
    mrml.new_scene()
    volume_node = mrml.add_volume(np.zeros(GRID.shape, np.float32), GRID.spacing, GRID.origin, np.eye(3))
    for number, masks in enumerate(({}, {"liver": np.zeros(GRID.shape, bool)})):
        node = mrml.add_segmentation(volume_node, masks)
        storage = slicer.vtkMRMLSegmentationStorageNode()
        slicer.mrmlScene.AddNode(storage)
        storage.SetFileName(str(tmp_path / f"{number}.seg.nrrd"))
        assert storage.WriteData(node)
        command = ["fill", str(image_file(tmp_path)), str(tmp_path / f"{number}.seg.nrrd")]
        assert main([*command, "-o", str(tmp_path / "out.nii.gz"), "--progress", "none"]) == 2
        assert "no slice is labelled" in capfd.readouterr().err
