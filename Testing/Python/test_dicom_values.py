"""Voxels of DICOM series: each slice is read by its own header; pydicom gives the expected values."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.io.files import read_volume
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless, generate_uid
from support.image_series import (
    GRID,
    OBLIQUE,
    assert_same_world,
    rescaled,
    set_pixels,
    stored_values,
    values_by_pydicom,
    write_multi_frame,
    write_series,
)
from support.refusals import refusal_of

GRIDS = {"upright": GRID, "oblique": OBLIQUE}


refusal = partial(refusal_of, read_volume)


def slope_of_the_rest(dataset: Dataset, index: int) -> None:
    if index != 4:
        rescaled(dataset, 0.0001, 0)
        set_pixels(dataset, np.resize([2000, 5000, 8000, 11000], GRID.shape[1:]).astype(np.uint16))


def eight_bits_first(dataset: Dataset, index: int) -> None:
    if index == 4:
        set_pixels(dataset, np.full(GRID.shape[1:], 7, np.uint8))
    else:
        set_pixels(dataset, np.full(GRID.shape[1:], 300 + index, np.uint16))


def intercept_later(dataset: Dataset, index: int) -> None:
    rescaled(dataset, 1, 0 if index == 4 else -1024)


def signs_mixed(dataset: Dataset, index: int) -> None:
    pixels = np.arange(48).reshape(6, 8)
    set_pixels(dataset, (pixels - 3000 if index % 2 else pixels + 64000).astype(np.int16 if index % 2 else np.uint16))


def slope_of_each(dataset: Dataset, index: int) -> None:
    rescaled(dataset, 0.37 * (index + 1) ** 3, 0)  # as in PET


def twelve_bits_with_an_overlay_above(dataset: Dataset, index: int) -> None:
    set_pixels(dataset, (stored_values()[index].astype(np.uint16) | 0x5000), bits_stored=12)


def signed_twelve_bits_without_sign_above(dataset: Dataset, index: int) -> None:
    set_pixels(dataset, ((stored_values()[index] - 50) & 0x0FFF).astype(np.int16), bits_stored=12)


def without_rescale(dataset: Dataset, index: int) -> None:
    del dataset.RescaleSlope, dataset.RescaleIntercept


def wide_integers(dataset: Dataset, index: int) -> None:
    rescaled(dataset, 1000, -7)
    set_pixels(dataset, np.full(GRID.shape[1:], 60000 + index, np.uint16))


def thirty_two_bits(dataset: Dataset, index: int) -> None:
    rescaled(dataset, 0.5, 0)
    set_pixels(dataset, np.full(GRID.shape[1:], 2**31 + index, np.uint32))


def modality_lookup_table(dataset: Dataset, index: int) -> None:
    del dataset.RescaleSlope, dataset.RescaleIntercept
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [100, 0, 16], "US"
    item.LUTData = [1000 + index + 3 * value for value in range(100)]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    dataset.ModalityLUTSequence = [item]
    set_pixels(dataset, stored_values()[index].astype(np.uint16))


def inverted_for_display(dataset: Dataset, index: int) -> None:
    dataset.PhotometricInterpretation = "MONOCHROME1"


def private_scale(dataset: Dataset, index: int) -> None:
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.004)
    rescaled(dataset, 2.5, -3)


def rle_compressed(dataset: Dataset, index: int) -> None:
    rescaled(dataset, 1.5, index)
    dataset.compress(RLELossless)


CHANGES = {
    change.__name__: change
    for change in (
        *(slope_of_the_rest, eight_bits_first, intercept_later, signs_mixed, slope_of_each, without_rescale),
        *(twelve_bits_with_an_overlay_above, signed_twelve_bits_without_sign_above, wide_integers, thirty_two_bits),
        *(modality_lookup_table, inverted_for_display, private_scale, rle_compressed),
    )
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("grid", GRIDS)
def test_values_and_positions_are_those_of_pydicom(change: str, grid: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", CHANGES[change], GRIDS[grid])
    assert_same_world(read_volume(folder), values_by_pydicom(folder))


def test_each_slice_is_rescaled_by_its_own_header(tmp_path: Path) -> None:
    volume = read_volume(write_series(tmp_path / "series", slope_of_the_rest))
    assert np.allclose(np.unique(volume.array[:4]), [0.2, 0.5, 0.8, 1.1])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (intercept_later, np.int16),
        (eight_bits_first, np.int16),
        (signs_mixed, np.int32),
        (wide_integers, np.int32),
        (slope_of_each, np.float32),
        (thirty_two_bits, np.float64),
        (without_rescale, np.int16),
    ],
)
def test_whole_numbers_stay_integers_and_others_become_float32(change: object, kind: type, tmp_path: Path) -> None:
    assert read_volume(write_series(tmp_path / "series", change)).array.dtype == kind


def test_bits_of_an_overlay_are_not_part_of_the_values(tmp_path: Path) -> None:
    volume = read_volume(write_series(tmp_path / "series", twelve_bits_with_an_overlay_above))
    assert np.array_equal(volume.array, stored_values())


@settings(max_examples=15, deadline=None)
@given(
    scales=st.lists(
        st.tuples(st.sampled_from([1, -1, 2, 0.5, 1e-4, 3.7, 1000]), st.sampled_from([0, -1024, 0.25, 1e5])),
        min_size=5,
        max_size=5,
    ),
    kinds=st.lists(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32]), min_size=5, max_size=5),
)
def test_any_mixture_of_types_and_scales_is_read_slice_by_slice(scales: list, kinds: list, tmp_path_factory) -> None:
    def change(dataset: Dataset, index: int) -> None:
        rescaled(dataset, *scales[index])
        information = np.iinfo(kinds[index])
        values = np.linspace(max(information.min, -(2**24)), min(information.max, 2**24), 48).reshape(6, 8)
        set_pixels(dataset, values.astype(kinds[index]))

    folder = write_series(tmp_path_factory.mktemp("any") / "series", change)
    volume = read_volume(folder)
    expected = values_by_pydicom(folder)
    assert_same_world(volume, expected)
    # Slice by slice, because large values would hide errors of small ones.
    for index, (slope, _) in enumerate(scales):
        expected_slice = {key: value for key, value in expected.items() if round((key[2] + 40) / 2.5) == index}
        found = sorted(float(value) for value in volume.array[index].flat)
        assert np.allclose(found, sorted(expected_slice.values()), rtol=0, atol=abs(slope) / 16)


# --- compressed slices, from files of pydicom

COMPRESSED = {
    "MR_small_jp2klossless.dcm": "JPEG 2000",
    "MR_small_jpeg_ls_lossless.dcm": "JPEG-LS",
    "MR_small_RLE.dcm": "RLE",
    "MR_small_bigendian.dcm": "big endian",
    "MR_small_implicit.dcm": "implicit",
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_slices_hold_the_values_of_the_uncompressed_one(name: str, tmp_path: Path) -> None:
    uncompressed = dcmread(get_testdata_file("MR_small.dcm", download=False))
    for index in range(3):
        dataset = dcmread(get_testdata_file(name, download=False))
        dataset.ImagePositionPatient = [0, 0, 3 * index]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.RescaleSlope, dataset.RescaleIntercept = index + 0.5, -index
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / f"{index}")
    volume = read_volume(tmp_path)
    for index in range(3):
        assert np.allclose(volume.array[index], uncompressed.pixel_array * (index + 0.5) - index)


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "JPEGLSNearLossless_16.dcm"])
def test_signed_and_shortened_pixels_are_decoded_as_pydicom_does(name: str, tmp_path: Path) -> None:
    source = get_testdata_file(name, download=False)
    expected = dcmread(source).pixel_array
    for index in range(2):
        dataset = dcmread(source)
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, index], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SeriesInstanceUID = [1, 1], "1.2.3"
        for tag in ("RescaleSlope", "RescaleIntercept", "NumberOfFrames"):
            if tag in dataset:
                del dataset[tag]
        dataset.save_as(tmp_path / f"{index}.dcm")
    assert np.array_equal(read_volume(tmp_path).array[1], expected)


def test_lossless_jpeg_is_decoded_without_further_packages(tmp_path: Path) -> None:
    pixels = stored_values()
    for index in range(3):
        image = sitk.GetImageFromArray(pixels[index].astype(np.uint16))
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / f"{index}.dcm"))
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        for tag, value in {
            "0020|000e": "1.2.3",
            "0020|0032": rf"0\0\{2 * index}",
            "0020|0037": r"1\0\0\0\1\0",
            "0008|0060": "CT",
        }.items():
            image.SetMetaData(tag, value)
        writer.KeepOriginalImageUIDOn()
        writer.Execute(image)
    assert dcmread(tmp_path / "0.dcm").file_meta.TransferSyntaxUID.name.startswith("JPEG Lossless")
    assert np.array_equal(read_volume(tmp_path).array, pixels[:3])


@pytest.mark.parametrize(
    ("syntax", "named"),
    [
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
        ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.110"),  # JPEG XL, which pydicom 3.0 does not know
        ("1.2.840.99999.7", "1.2.840.99999.7"),
    ],
)
def test_a_compression_that_cannot_be_read_is_named(syntax: str, named: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", lambda dataset, index: dataset.compress(RLELossless))
    for path in folder.iterdir():
        content, lengths = path.read_bytes(), [len(uid) + len(uid) % 2 for uid in (RLELossless, syntax)]
        old, new = (
            b"UI" + length.to_bytes(2, "little") + uid.encode().ljust(length, b"\0")
            for uid, length in zip((RLELossless, syntax), lengths, strict=True)
        )
        assert content.count(old) == 1
        content = content.replace(old, new)
        group = int.from_bytes(content[140:144], "little") + lengths[1] - lengths[0]
        path.write_bytes(content[:140] + group.to_bytes(4, "little") + content[144:])
    error = refusal(folder)
    assert error.code == "series_compressed"
    assert named in str(error)


# --- multi-frame files


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_frames_out_of_order_with_a_rescaling_of_their_own_are_read(
    grid: str, shared: bool, modality: str, tmp_path: Path
) -> None:
    (tmp_path / "image").mkdir()
    file = tmp_path / "image" / "enhanced"
    expected = write_multi_frame(
        file, GRIDS[grid], (3, 0, 4, 1, 2), lambda index: (0.5 + index, -100.0 * index), shared, modality=modality
    )
    assert_same_world(read_volume(tmp_path / "image"), expected)
    assert_same_world(read_volume(file), expected)


def test_what_all_frames_share_is_read_from_the_shared_group(tmp_path: Path) -> None:
    expected = write_multi_frame(tmp_path / "enhanced.dcm", order=(4, 3, 2, 1, 0), shared=True)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.int16
    assert_same_world(volume, expected)


def test_a_volume_in_several_multi_frame_files_is_one(tmp_path: Path) -> None:
    expected = write_multi_frame(tmp_path / "a.dcm", order=(3, 1))
    expected |= write_multi_frame(tmp_path / "b.dcm", order=(0, 4, 2))
    uid = dcmread(tmp_path / "a.dcm").SeriesInstanceUID
    dataset = dcmread(tmp_path / "b.dcm")
    dataset.SeriesInstanceUID = uid
    dataset.save_as(tmp_path / "b.dcm")
    assert_same_world(read_volume(tmp_path), expected)


def test_compressed_frames_out_of_order_are_read(tmp_path: Path) -> None:
    file = tmp_path / "enhanced.dcm"
    expected = write_multi_frame(file, order=(2, 0, 1, 4, 3), rescale=lambda index: (index + 1.0, 0.0))
    dataset = dcmread(file)
    dataset.compress(RLELossless)
    dataset.save_as(file)
    assert_same_world(read_volume(file), expected)


def in_content(name: str, value: object, sequence: str = "FrameContentSequence"):
    def change(group: Dataset, number: int) -> None:
        if sequence not in group:
            setattr(group, sequence, [Dataset()])
        setattr(group[sequence].value[0], name, value(number) if callable(value) else value)

    return change


@pytest.mark.parametrize(
    ("name", "sequence", "values", "words"),
    [
        ("StackID", "FrameContentSequence", ("1", "2"), "2 stacks"),
        ("TemporalPositionIndex", "FrameContentSequence", (1, 2), "2 time points"),
        ("EffectiveEchoTime", "MREchoSequence", (10.0, 80.0), "2 echoes"),
        ("DiffusionBValue", "MRDiffusionSequence", (0.0, 1000.0), "2 diffusion weightings"),
        ("ComplexImageComponent", "MRImageFrameTypeSequence", ("MAGNITUDE", "PHASE"), "2 kinds of image"),
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2, 0, 1, 2), (0, 1, 2, 3, 4)], ids=["over each other", "one after another"])
def test_several_volumes_in_a_file_are_refused_with_advice(
    name: str, sequence: str, values: tuple, words: str, order: tuple, tmp_path: Path
) -> None:
    count = iter(range(len(order)))

    def change(group: Dataset, index: int) -> None:
        if index >= 0:
            in_content(name, values[int(next(count) >= len(order) // 2)], sequence)(group, index)

    write_multi_frame(tmp_path / "enhanced.dcm", order=order, change=change)
    error = refusal(tmp_path)
    assert error.code == "series_many_volumes"
    assert words in str(error)
    assert "split it" in str(error)


def test_frames_at_the_same_position_without_a_stated_reason_are_refused(tmp_path: Path) -> None:
    write_multi_frame(tmp_path / "enhanced.dcm", order=(0, 1, 2, 1))
    error = refusal(tmp_path)
    assert error.code == "series_doubled"
    assert "frame 2 of enhanced.dcm" in str(error)


def test_time_indices_that_only_number_the_frames_are_not_time_points(tmp_path: Path) -> None:
    def change(group: Dataset, index: int) -> None:
        if index >= 0:
            in_content("TemporalPositionIndex", index + 1)(group, index)

    expected = write_multi_frame(tmp_path / "enhanced.dcm", change=change)
    assert_same_world(read_volume(tmp_path), expected)


def test_frames_of_several_pixel_sizes_are_refused(tmp_path: Path) -> None:
    def change(group: Dataset, index: int) -> None:
        if index == 2:
            group.PixelMeasuresSequence[0].PixelSpacing = [2, 2]

    write_multi_frame(tmp_path / "enhanced.dcm", change=change)
    error = refusal(tmp_path)
    assert (error.code, error.data["what"]) == ("series_sizes", "PixelSpacing")


def test_frames_without_position_are_refused(tmp_path: Path) -> None:
    def change(group: Dataset, index: int) -> None:
        if index == 2:
            del group.PlanePositionSequence

    write_multi_frame(tmp_path / "enhanced.dcm", change=change)
    assert refusal(tmp_path).code == "series_no_place"


def test_a_dose_map_is_read_with_its_offsets_and_scaling(tmp_path: Path) -> None:
    dataset = dcmread(get_testdata_file("rtdose.dcm", download=False))
    volume = read_volume(Path(get_testdata_file("rtdose.dcm", download=False)))
    assert volume.array.shape == dataset.pixel_array.shape
    assert np.allclose(volume.array, dataset.pixel_array * float(dataset.DoseGridScaling))
    gap = dataset.GridFrameOffsetVector[1] - dataset.GridFrameOffsetVector[0]
    assert np.allclose(volume.geometry.spacing, [*dataset.PixelSpacing[::-1], gap])
    assert np.allclose(volume.geometry.origin, dataset.ImagePositionPatient)
