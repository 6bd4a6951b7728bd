"""Further channels, which are volumes co-registered with the one that is filled: engines, run folders, commands."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.channels import coverage, coverage_notes, on_one_grid, with_further
from fewshot_annotate.core.dice import dice
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.datasets.case import CaseJob, run_case
from fewshot_annotate.datasets.case_plan import BatchSettings
from fewshot_annotate.datasets.status import Status
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.base import RunContext, label_slice
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.evaluation.study_manifest import read_study_manifest
from fewshot_annotate.io.files import read_volume, write_array
from fewshot_annotate.jobs.filling import Filling
from fewshot_annotate.jobs.run_folder import JobFolder
from support.batches import read_valid_manifest
from support.case_folder import CaseFolder
from support.run_folders import create_folder, reopen_folder

pytestmark = pytest.mark.usefixtures("forked_workers")

GRID = Geometry((13, 40, 40))


def disc(centre: tuple[float, float], radius: float) -> np.ndarray:
    """A disc on a slice, bool [h, w]."""
    rows, columns = np.indices(GRID.shape[1:])
    return np.asarray((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2)


@cache
def phantom() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two channels and the labels of two discs that move on curves; each channel shows one of them."""
    rng = np.random.default_rng(0)
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    for index in range(len(labels)):
        bend = 5 * np.sin(np.pi * index / 12)
        labels[index][disc((12, 14 + bend), 5)] = 1
        labels[index][disc((28, 26 - bend), 5)] = 2
    first, second = (np.where(labels == value, 200, 80) + rng.normal(0, 5, GRID.shape) for value in (1, 2))
    return first.astype(np.float32), second.astype(np.int16), labels


def labelled_every(spacing: int) -> Support:
    """The labels of every `spacing`-th slice."""
    labels = phantom()[2]
    indices = list(range(0, len(labels), spacing))
    return Support.from_label_map(LabelMap(labels, GRID), SliceAxis(0), indices)


def dice_of(volume: Volume, support: Support) -> list[float]:
    """Dice of each label on the query slices, filled by `propagate`."""
    engine, labels = Propagate(), phantom()[2]
    engine.prepare(volume, support)
    query = support.unlabelled(support.labelled_range())
    filled = {index: label_slice(values, support.labels)[0] for index, values in engine.predict(query)}
    result = np.stack([filled[index] for index in query])
    return [dice(labels[query], result, value) for value in support.labels]


def test_a_structure_that_only_a_further_channel_shows_is_found_in_it() -> None:
    first, second, _ = phantom()
    alone = dice_of(Volume(first, GRID), labelled_every(12))
    both = dice_of(Volume(first, GRID, (Volume(second, GRID),)), labelled_every(12))
    assert alone[1] < 0.6
    assert both[1] > 0.9
    assert both[0] > 0.9


def test_a_channel_that_shows_nothing_does_no_harm() -> None:
    first, _, _ = phantom()
    noise = np.random.default_rng(1).normal(100, 30, GRID.shape)
    alone, both = (
        dice_of(Volume(first, GRID, further), labelled_every(6)) for further in ((), (Volume(noise, GRID),))
    )
    assert both[0] > alone[0] - 0.02


def test_adapt_finds_a_structure_that_only_a_further_channel_shows() -> None:
    first, second, labels = phantom()
    support, query = labelled_every(12), [4, 6, 8]
    found = []
    for further in ((), (Volume(second, GRID),)):
        engine = Adapt(options={"steps": 5})
        engine.prepare(Volume(first, GRID, further), support)
        filled = {index: label_slice(values, support.labels)[0] for index, values in engine.predict(query)}
        found.append(dice(labels[query], np.stack([filled[index] for index in query]), 2))
    assert found[0] < 0.6
    assert found[1] > 0.9


# --- grids


def test_a_channel_on_the_same_grid_is_not_resampled() -> None:
    first, second, _ = phantom()
    unchanged = on_one_grid(Volume(first, GRID, (Volume(second, GRID),)))
    assert unchanged.further[0].array is second


def test_a_channel_on_another_grid_is_interpolated_in_world_coordinates() -> None:
    grid = Geometry((3, 4, 5), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    # Twice as fine along i, with the axes i and j swapped, and one voxel wider on each side.
    channel_grid = Geometry((5, 7, 12), (2.0, 0.5, 3.0), (8.0, 19.75, 27.0), (0, 1, 0, 1, 0, 0, 0, 0, 1))
    ramp = _positions(channel_grid) @ (1.0, 10.0, 100.0)
    found = on_one_grid(Volume(np.zeros(grid.shape), grid, (Volume(ramp, channel_grid),))).further[0]
    assert found.geometry == grid
    inside = _inside(grid, channel_grid)
    assert inside.any()
    np.testing.assert_allclose(found.array[inside], (_positions(grid) @ (1.0, 10.0, 100.0))[inside], rtol=1e-5)


def _positions(grid: Geometry) -> np.ndarray:
    """LPS of each voxel, [k, j, i, 3]."""
    k, j, i = np.indices(grid.shape)
    matrix = np.reshape(grid.direction, (3, 3)) * grid.spacing
    return np.asarray(np.stack([i, j, k], axis=-1) @ matrix.T + grid.origin)


def _inside(grid: Geometry, channel_grid: Geometry) -> np.ndarray:
    """Voxels of `grid` between voxel centres of `channel_grid`."""
    matrix = np.reshape(channel_grid.direction, (3, 3)) * channel_grid.spacing
    index = (_positions(grid) - channel_grid.origin) @ np.linalg.inv(matrix).T
    return np.asarray(((index >= 0) & (index <= np.array(channel_grid.shape[::-1]) - 1)).all(axis=-1))


def test_voxels_outside_a_channel_get_its_lowest_intensity_and_this_is_reported() -> None:
    grid, channel_grid = Geometry((4, 4, 10)), Geometry((4, 4, 5))
    volume = Volume(
        np.ones(grid.shape), grid, (Volume(np.arange(-7.0, 73).reshape(channel_grid.shape), channel_grid),)
    )
    found = on_one_grid(volume).further[0].array
    assert (found[..., 5:] == -7).all()
    np.testing.assert_array_equal(found[..., :5], volume.further[0].array)
    assert coverage(channel_grid, grid) == 0.5
    assert coverage_notes(volume) == [Message("channel_covers_part", number=2, percent=50)]


def test_a_channel_that_does_not_overlap_the_volume_is_refused_by_name() -> None:
    first, second, _ = phantom()
    far = replace(GRID, origin=(500.0, 0.0, 0.0))
    with pytest.raises(InputError, match="T2: it lies beside the volume"):
        with_further(Volume(first, GRID), [Volume(second, far)], ["T2"])


# --- run folders


def job_folder(path: Path) -> JobFolder:
    """A run over both channels, the second of which lies on a grid of its own."""
    first, second, _ = phantom()
    coarse = Volume(second[:, ::2, ::2].copy(), Geometry((13, 20, 20), (2.0, 2.0, 1.0)))
    support = labelled_every(6)
    job = Job(engine="propagate", slices=tuple(support.unlabelled(support.labelled_range())))
    return create_folder(path, job, Volume(first, GRID, (coarse,)), support)


def test_a_run_folder_keeps_each_channel_once_on_its_own_grid(tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "job")
    (channel,) = reopen_folder(tmp_path / "job").read_volume().further
    np.testing.assert_array_equal(channel.array, phantom()[1][:, ::2, ::2])
    assert channel.array.dtype == np.int16
    assert channel.geometry.spacing == (2.0, 2.0, 1.0)
    assert folder.array_path("image-2").name == "image-2.npy"


def test_a_run_is_not_resumed_with_a_changed_or_missing_channel(tmp_path: Path) -> None:
    file = job_folder(tmp_path / "job").array_path("image-2")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="image or labels are damaged"):
        reopen_folder(tmp_path / "job")
    file.unlink()
    with pytest.raises(InputError, match=r"image-2\.npy is missing"):
        JobFolder.open(tmp_path / "job")


def test_a_folder_with_channels_whose_creation_was_interrupted_is_created_again(tmp_path: Path) -> None:
    path = job_folder(tmp_path / "job").path
    (path / "job.json").rename(path / "job.json.partial")
    assert job_folder(path).read_volume().further


def test_an_engine_for_one_volume_gets_the_first_alone_and_a_warning() -> None:
    first, second, _ = phantom()
    prepared: list[Volume] = []
    warnings: list[Message] = []

    class OneVolume(Propagate):
        uses_channels = False

        def prepare(self, volume: Volume, support: Support, *arguments: Any, **options: Any) -> None:
            prepared.append(volume)
            super().prepare(volume, support, *arguments, **options)

    volume = Volume(first, GRID, (Volume(second, GRID),))
    Filling(OneVolume(), volume, labelled_every(6), [1], RunContext(warn=warnings.append))
    assert not prepared[0].further
    assert [warning.code for warning in warnings] == ["channels_ignored"]


# --- commands


@pytest.fixture(name="channel")
def second_channel(case_folder: CaseFolder) -> Path:
    """A second channel at half the resolution of the image, which covers half of its slices."""
    grid = case_folder.volume.geometry
    k, j, i = grid.shape
    half = Geometry(
        (k // 2, j // 2, i // 2),
        (2 * grid.spacing[0], 2 * grid.spacing[1], grid.spacing[2]),
        grid.origin,
        grid.direction,
    )
    path = case_folder.folder / "t2.nii.gz"
    write_array(
        path, -case_folder.volume.array[: k // 2, : 2 * (j // 2) : 2, : 2 * (i // 2) : 2].astype(np.float32), half
    )
    return path


def test_fill_takes_further_volumes_and_reports_what_they_do_not_cover(
    case_folder: CaseFolder, channel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            case_folder.fill(
                "--engine", "propagate", "--also", channel, "--job-dir", case_folder.job, "--progress", "bar"
            )
        )
        == 0
    )
    assert "Volume 2 covers 49 % of the volume to fill" in " ".join(capfd.readouterr().err.split())
    filled = case_folder.output.read_bytes()
    assert (case_folder.job / "image-2.npy").is_file()
    assert (
        main(case_folder.fill("--engine", "propagate", "--also", channel, "--job-dir", case_folder.job, "--resume"))
        == 0
    )
    assert case_folder.output.read_bytes() == filled
    assert main(case_folder.fill("--engine", "propagate", "--job-dir", case_folder.job, "--resume")) == 2
    assert "started with another image or labels" in capfd.readouterr().err


def test_an_engine_that_works_on_one_volume_is_refused_with_those_that_take_several(
    case_folder: CaseFolder, channel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = case_folder.files()
    assert main(case_folder.fill("--engine", "specialist", "--also", channel)) == 2
    assert "leave out the others (--also, column also), or choose one of: propagate, adapt." in capfd.readouterr().err
    assert case_folder.files() == before


def test_a_further_volume_that_does_not_overlap_is_refused_and_nothing_is_written(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    path = case_folder.folder / "far.nii.gz"
    write_array(path, case_folder.volume.array, replace(case_folder.volume.geometry, origin=(4000.0, 0.0, 0.0)))
    before = case_folder.files()
    assert main(case_folder.fill("--also", path)) == 2
    assert "it lies beside the volume and covers none of it" in capfd.readouterr().err
    assert case_folder.files() == before


def test_a_further_volume_is_not_overwritten(
    case_folder: CaseFolder, channel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(case_folder.fill("--also", channel, "-o", channel)) == 2
    assert "the output would replace the input" in capfd.readouterr().err


def test_a_row_of_a_batch_names_further_volumes(
    case_folder: CaseFolder, channel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = case_folder.folder / "cases.csv"
    manifest.write_text("image,support,also\nimage.nii.gz,support.nii.gz,t2.nii.gz; image.nii.gz\n", encoding="utf-8")
    (case,) = read_valid_manifest(manifest).cases
    assert case.also == (channel, case_folder.image)
    job = CaseJob(case=replace(case, engine="propagate"), settings=BatchSettings(), folder=case_folder.folder / "out")
    assert [Path(further["path"]).name for further in job.request()["also"]] == ["t2.nii.gz", "image.nii.gz"]
    job.folder.mkdir()
    status = run_case(job)
    assert status.status is Status.DONE
    assert "Volume 2 covers 49 %" in status.message
    arguments = ["batch", str(manifest), "-o", str(case_folder.folder / "other"), "--engine", "specialist"]
    assert main([*arguments, "--progress", "none"]) == 2
    assert "row 2: Engine specialist works on one volume" in capfd.readouterr().err


def test_a_row_of_a_study_names_further_volumes(case_folder: CaseFolder, channel: Path) -> None:
    manifest = case_folder.folder / "study.csv"
    manifest.write_text("image,label,group,also\nimage.nii.gz,support.nii.gz,CT,t2.nii.gz\n", encoding="utf-8")
    (volume,) = read_study_manifest(manifest)
    (further,) = volume.read().volume.further
    assert further.array.shape == read_volume(channel).array.shape
