""".seg.nrrd exchanged with Slicer's own reader and writer, in both directions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import read_label_maps, write_label_maps
from hypothesis import given
from hypothesis import strategies as st
from support.labels import OBLIQUE, TERMINOLOGY, keep_slices, oblique, overlapping_layers, small_case

# A tag ends at '|' in this format, and a NRRD value cannot hold a carriage return.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="|"), max_size=20)


def described(layers: list[LabelMap]) -> list[tuple[str, str, Any, Any]]:
    return [
        (segment.segment_id, segment.name, tuple(round(part, 5) for part in segment.colour), dict(segment.tags))
        for layer in layers
        for segment in layer.segments
    ]


def masks_by_id(layers: list[LabelMap]) -> dict[str, np.ndarray]:
    return {segment.segment_id: layer.array == segment.value for layer in layers for segment in layer.segments}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_overlapping_layers_are_unchanged_after_writing_and_reading(count: int, tmp_path: Path) -> None:
    _, label_map = oblique(*small_case())
    layers = overlapping_layers(label_map, count)
    write_label_maps(tmp_path / "a.seg.nrrd", layers)
    read = read_label_maps(tmp_path / "a.seg.nrrd", label_map.geometry)
    assert len(read) == count
    assert described(read) == described(layers)
    for found, expected in zip(read, layers, strict=True):
        assert np.array_equal(found.array, expected.array)


@given(
    names=st.lists(texts, min_size=1, max_size=4),
    tags=st.dictionaries(texts.filter(lambda t: t and ":" not in t), texts),
)
def test_any_names_and_tags_are_kept(
    names: list[str], tags: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "names.seg.nrrd"
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % (len(names) + 1)
    segments = tuple(Segment(value=value, name=name, tags=tags) for value, name in enumerate(names, start=1))
    write_label_maps(path, [LabelMap(array, Geometry(array.shape), segments)])
    (read,) = read_label_maps(path, Geometry(array.shape))
    assert [(segment.name, segment.tags) for segment in read.segments] == [(name, tags) for name in names]


@given(first=st.tuples(*[st.integers(0, 3)] * 3), size=st.tuples(*[st.integers(1, 3)] * 3))
def test_a_cropped_segmentation_keeps_its_position_in_the_volume(
    first: tuple[int, int, int], size: tuple[int, int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "part.seg.nrrd"
    grid = Geometry((6, 6, 6), (0.7, 1.3, 2.9), (-17.25, 33.1, -204.7), OBLIQUE)
    cropped = cropped_grid(grid, first, size)
    write_label_maps(path, [LabelMap(np.full(size, 3, np.uint8), cropped)])
    (read,) = read_label_maps(path, grid)
    expected = np.zeros(grid.shape, dtype=np.uint8)
    expected[tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))] = 3
    assert np.array_equal(read.array, expected)


@pytest.mark.parametrize(
    ("shift", "code"),
    [((-1, 0, 0), "labels_outside"), ((4, 0, 0), "labels_outside"), ((0, 0.5, 0), "labels_off_grid")],
    ids=["before", "behind", "between voxels"],
)
def test_a_cropped_segmentation_on_another_grid_is_refused(
    shift: tuple[float, float, float], code: str, tmp_path: Path
) -> None:
    grid = Geometry((6, 6, 6), (0.7, 1.3, 2.9), (-17.25, 33.1, -204.7), OBLIQUE)
    cropped = cropped_grid(grid, shift, (3, 3, 3))
    write_label_maps(tmp_path / "a.seg.nrrd", [LabelMap(np.ones((3, 3, 3), np.uint8), cropped)])
    with pytest.raises(InputError) as error:
        read_label_maps(tmp_path / "a.seg.nrrd", grid)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("entry", "damaged"),
    [("_LabelValue:=1", "_LabelValue:=x"), ("_Layer:=0", "_Layer:=?"), ("_Color:=0.25 0.5 ", "_Color:=0.25 0,5 ")],
)
def test_a_damaged_segment_list_is_refused(entry: str, damaged: str, tmp_path: Path) -> None:
    label_map = small_case()[1]
    path = tmp_path / "a.seg.nrrd"
    write_label_maps(path, overlapping_layers(label_map, 1))
    data = path.read_bytes()
    assert entry.encode() in data
    path.write_bytes(data.replace(entry.encode(), damaged.encode(), 1))
    with pytest.raises(InputError) as error:
        read_label_maps(path, label_map.geometry)
    assert error.value.code == "file_unreadable"


# --- with Slicer's storage node


@pytest.fixture
def slicer_storage() -> Any:
    pytest.importorskip("slicer")
    from support import mrml

    mrml.new_scene()
    return SlicerStorage()


class SlicerStorage:
    """Slicer's own reader and writer of segmentation files."""

    def read(self, path: Path) -> Any:
        """The segmentation node of a file."""
        import slicer

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        storage = slicer.vtkMRMLSegmentationStorageNode()
        slicer.mrmlScene.AddNode(storage)
        storage.SetFileName(os.fspath(path))
        assert storage.ReadData(node)
        return node

    def write(self, node: Any, path: Path, crop: bool) -> None:
        """Save a segmentation node."""
        import slicer

        storage = slicer.vtkMRMLSegmentationStorageNode()
        slicer.mrmlScene.AddNode(storage)
        storage.SetFileName(os.fspath(path))
        storage.SetCropToMinimumExtent(crop)
        assert storage.WriteData(node)

    def segments(self, node: Any, volume_node: Any) -> dict[str, tuple[str, tuple[float, ...], str, np.ndarray]]:
        """Name, colour, terminology and voxels of every segment."""
        import vtk
        from support import mrml

        found = {}
        segmentation = node.GetSegmentation()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        for number in range(segmentation.GetNumberOfSegments()):
            segment, name = segmentation.GetNthSegment(number), segmentation.GetNthSegmentID(number)
            terminology = vtk.reference("")
            segment.GetTag("TerminologyEntry", terminology)
            found[name] = (
                segment.GetName(),
                segment.GetColor(),
                str(terminology),
                mrml.segment_array(node, name),
            )
        return found


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_slicer_reads_the_written_files(count: int, slicer_storage: SlicerStorage, awkward_path: Path) -> None:
    from support import mrml

    volume, label_map = oblique(*small_case())
    layers = overlapping_layers(label_map, count)
    write_label_maps(awkward_path / "a.seg.nrrd", layers)
    geometry = volume.geometry
    volume_node = mrml.add_volume(
        volume.array, geometry.spacing, geometry.origin, np.reshape(geometry.direction, (3, 3))
    )
    node = slicer_storage.read(awkward_path / "a.seg.nrrd")
    assert node.GetSegmentation().GetNumberOfLayers() == count
    found = slicer_storage.segments(node, volume_node)
    assert list(found) == [segment.segment_id for layer in layers for segment in layer.segments]
    for layer in layers:
        for segment in layer.segments:
            name, colour, terminology, mask = found[segment.segment_id]
            assert name == segment.name
            assert colour == pytest.approx(segment.colour, abs=1e-5)
            assert terminology == segment.tags.get("TerminologyEntry", terminology)  # Slicer adds its default
            assert np.array_equal(mask, layer.array == segment.value)


@pytest.mark.parametrize("crop", [True, False], ids=["cropped", "whole"])
def test_files_written_by_slicer_are_read(crop: bool, slicer_storage: SlicerStorage, awkward_path: Path) -> None:
    from support import mrml

    volume, label_map = oblique(*small_case())
    geometry = volume.geometry
    volume_node = mrml.add_volume(
        volume.array, geometry.spacing, geometry.origin, np.reshape(geometry.direction, (3, 3))
    )
    masks = {"Étage": label_map.array == 1, "other": label_map.array == 2, "both": label_map.array > 0}
    node = mrml.add_segmentation(volume_node, masks)
    segment = node.GetSegmentation().GetSegment("Étage")
    segment.SetColor(0.25, 0.5, 0.75)
    segment.SetTag("TerminologyEntry", TERMINOLOGY)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    slicer_storage.write(node, awkward_path / "a.seg.nrrd", crop)
    read = read_label_maps(awkward_path / "a.seg.nrrd", geometry)
    assert len(read) == 2, "two segments share a layer, the third overlaps them"
    found = masks_by_id(read)
    assert set(found) == set(masks)
    for name, mask in masks.items():
        assert np.array_equal(found[name], mask)
    (segment,) = [part for layer in read for part in layer.segments if part.segment_id == "Étage"]
    assert (segment.name, segment.tags["TerminologyEntry"]) == ("Étage", TERMINOLOGY)
    assert segment.colour == pytest.approx((0.25, 0.5, 0.75))


@pytest.mark.parametrize("painted", [0, 1, 2])
def test_a_single_painted_slice_cropped_by_slicer_is_read(
    painted: int, slicer_storage: SlicerStorage, tmp_path: Path
) -> None:
    from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
    from support import mrml

    volume, label_map = small_case()
    axis = SliceAxis(painted)
    labelled = labelled_indices(label_map.array, axis)
    kept = keep_slices(label_map, axis, [labelled[len(labelled) // 2]])
    geometry = volume.geometry
    volume_node = mrml.add_volume(
        volume.array, geometry.spacing, geometry.origin, np.reshape(geometry.direction, (3, 3))
    )
    node = mrml.add_segmentation(volume_node, {"painted": kept.array > 0, "not yet": np.zeros_like(kept.array)})
    slicer_storage.write(node, tmp_path / "a.seg.nrrd", crop=True)
    found = masks_by_id(read_label_maps(tmp_path / "a.seg.nrrd", geometry))
    assert np.array_equal(found["painted"], kept.array > 0)


def cropped_grid(grid: Geometry, first: tuple[float, ...], size: tuple[int, int, int]) -> Geometry:
    step = np.array(first[::-1], dtype=float) * grid.spacing
    origin = np.array(grid.origin) + np.reshape(grid.direction, (3, 3)) @ step
    return Geometry(size, grid.spacing, (float(origin[0]), float(origin[1]), float(origin[2])), grid.direction)


@pytest.mark.parametrize("name", ["a\rb", "a\r\n", "\x1b[31mred", "a\0b", "a\ud800b", "a\nb", "a\tb"], ids=ascii)
def test_a_name_with_control_characters_leaves_a_file_that_itk_reads(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 2
    write_label_maps(path, [LabelMap(array, Geometry(array.shape), (Segment(value=1, name=name),))])
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    expected = "".join(letter if letter.isprintable() or letter in "\t\n" else " " for letter in name)
    assert image.GetMetaData("Segment0_Name").strip() == expected.strip()
    assert read_label_maps(path)[0].segments[0].name.strip() == expected.strip()
