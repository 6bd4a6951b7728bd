"""Pictures of slices: orientation, scale, and colours of areas and outlines."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.intensity import IntensityRange
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.guidance.contact_sheet import contact_sheet, evenly_spread, least_certain
from fewshot_annotate.io.slice_picture import (
    AREA_OPACITY,
    OUTLINE_PIXELS,
    Region,
    draw_slice,
    label_regions,
    png_bytes,
    radiological_flips,
    scaled_size,
    write_png,
)
from PIL import Image

BLACK_TO_WHITE = IntensityRange(0, 100)


def middle() -> np.ndarray:
    mask = np.zeros((10, 10), dtype=bool)
    mask[3:7, 3:7] = True
    return mask


@pytest.mark.parametrize(
    ("direction", "corner"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0)),  # LPS: columns run to the left, rows to posterior
        ((-1, 0, 0, 0, 1, 0, 0, 0, 1), (0, -1)),
        ((1, 0, 0, 0, -1, 0, 0, 0, 1), (-1, 0)),
    ],
)
def test_axial_slices_show_anterior_at_the_top_and_the_patients_right_on_the_left(
    direction: tuple[float, ...], corner: tuple[int, int]
) -> None:
    geometry = Geometry((1, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction)
    image = np.zeros((4, 4))
    image[corner] = 100  # the most anterior pixel on the patient's right
    assert image[radiological_flips(SliceAxis(0), geometry)][0, 0] == 100


@pytest.mark.parametrize("axis", [1, 2])
def test_other_slices_show_superior_at_the_top(axis: int) -> None:
    geometry = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    rows, _ = radiological_flips(SliceAxis(axis), geometry)
    assert np.arange(4)[rows][0] == 3


@pytest.mark.parametrize(
    ("shape", "pixel_mm", "size"),
    [((10, 10), (1, 1), (40, 40)), ((10, 10), (2, 1), (20, 40)), ((5, 20), (1, 1), (40, 10))],
)
def test_a_picture_has_the_proportions_of_the_slice_in_mm(
    shape: tuple[int, int], pixel_mm: tuple[float, float], size: tuple[int, int]
) -> None:
    assert scaled_size(shape, pixel_mm, 40) == size


def test_areas_are_translucent_and_nothing_else_is_coloured() -> None:
    picture = draw_slice(np.full((10, 10), 50), BLACK_TO_WHITE, (10, 10), [Region(middle(), (1, 0, 0))])
    rgb = np.asarray(picture)
    grey, rest = 127, 1 - AREA_OPACITY
    np.testing.assert_allclose(
        rgb[middle()], np.broadcast_to([grey * rest + 255 * AREA_OPACITY, grey * rest, grey * rest], (16, 3)), atol=1
    )
    np.testing.assert_array_equal(rgb[~middle()], grey)


def test_outlines_are_opaque_and_drawn_over_areas() -> None:
    large = np.kron(middle(), np.ones((10, 10), dtype=bool))
    picture = draw_slice(
        np.zeros((100, 100)), BLACK_TO_WHITE, (100, 100), [Region(large, (1, 0, 0))], [Region(large, (0, 1, 0))]
    )
    rgb = np.asarray(picture)
    assert tuple(rgb[50, 30]) == (0, 255, 0)
    assert tuple(rgb[50, 29 + OUTLINE_PIXELS]) == (0, 255, 0)
    assert tuple(rgb[50, 30 + OUTLINE_PIXELS]) == (round(255 * AREA_OPACITY - 0.5), 0, 0)


def test_only_segments_on_the_slice_are_drawn() -> None:
    labels = middle().astype(np.uint16) * 2
    (region,) = label_regions(
        labels, [Segment(value=1, name="liver", colour=(1, 0, 0)), Segment(value=2, name="spleen", colour=(0, 0, 1))]
    )
    assert region.colour == (0, 0, 1)
    np.testing.assert_array_equal(region.mask, middle())


def test_a_png_is_read_as_written(tmp_path: Path) -> None:
    picture = draw_slice(np.arange(100).reshape(10, 10), BLACK_TO_WHITE, (20, 20))
    write_png(tmp_path / "slice.png", picture)
    for source in (tmp_path / "slice.png", io.BytesIO(png_bytes(picture))):
        with Image.open(source) as found:
            np.testing.assert_array_equal(np.asarray(found), np.asarray(picture))


def small_scene() -> tuple[Volume, LabelMap]:
    """Three slices of an even image; two labels on the first, one of them on the second, a third label nowhere."""
    geometry = Geometry((3, 40, 40))
    array = np.zeros(geometry.shape, np.uint8)
    array[0, 5:20, 5:20], array[0, 25:35, 25:35], array[1, 5:20, 5:20] = 1, 2, 1
    colours = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    segments = [Segment(value=value, name=f"organ {value}", colour=colour) for value, colour in enumerate(colours, 1)]
    ramp = np.broadcast_to(np.linspace(0, 100, 40, dtype=np.float32), geometry.shape)
    return Volume(np.array(ramp), geometry), LabelMap(array, geometry, tuple(segments))


def colours_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        return {tuple(colour) for colour in np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()}


def test_a_contact_sheet_has_a_legend_of_the_labels_it_shows(tmp_path: Path) -> None:
    volume, labels = small_scene()
    sheet = tmp_path / "sheet.png"
    contact_sheet(sheet, volume, labels, SliceAxis(0), [0, 1])
    with Image.open(sheet) as picture:
        legend = {tuple(one) for one in np.asarray(picture.convert("RGB"))[-20:].reshape(-1, 3).tolist()}
    assert {(255, 0, 0), (0, 255, 0)} <= legend
    assert (0, 0, 255) not in colours_of(sheet), "no slice shows this label"


def test_the_image_is_seen_under_the_labels_of_a_contact_sheet(tmp_path: Path) -> None:
    volume, labels = small_scene()
    contact_sheet(tmp_path / "sheet.png", volume, labels, SliceAxis(0), [1])
    tinted = {colour for colour in colours_of(tmp_path / "sheet.png") if colour[0] > colour[1] == colour[2]}
    assert len(tinted) > 10, "as many shades as the image has there"


def test_slices_of_a_preview_are_evenly_spread_and_different() -> None:
    assert evenly_spread(10, 20, 3) == [10, 15, 20]
    assert evenly_spread(4, 6, 9) == [4, 5, 6]


def test_a_preview_shows_the_least_certain_slices_first() -> None:
    _, labels = small_scene()
    confidence = np.ones(labels.array.shape, np.float32)
    confidence[1] = 0.6
    assert least_certain(labels.array, confidence, SliceAxis(0), [0, 1, 2]) == [1, 0]
