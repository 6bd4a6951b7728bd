"""The run folder: what is written is read, and a damaged one is refused in one line."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.jobs.fingerprints import fingerprints
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.slice_writer import SliceWriter
from support.disk import largest_file
from support.labels import every_nth, small_case
from support.processes import make_folder
from support.refusals import refusal_of
from support.run_folders import create_folder, reopen_folder, result_of

AXIS = SliceAxis(1)


@pytest.fixture
def folder(awkward_path: Path) -> JobFolder:
    return make_folder(awkward_path / "job", *small_case(), AXIS, 8)


def refusal(path: Path) -> InputError:
    error = refusal_of(JobFolder.open, path)
    assert str(path) in str(error)
    return error


def test_the_job_and_its_input_are_read_as_written(folder: JobFolder) -> None:
    volume, label_map = small_case()
    opened = JobFolder.open(folder.path)
    support = opened.read_support()
    assert opened.job == folder.job
    assert opened.axis == AXIS
    assert np.array_equal(opened.read_volume().array, volume.array)
    assert opened.read_volume().geometry == volume.geometry
    assert list(support.indices) == every_nth(label_map, AXIS, 8)
    assert np.array_equal(support.masks, AXIS.slices(label_map.array)[list(support.indices)])
    assert opened.pending() == support.unlabelled(range(opened.shape[0]))
    opened.require_same_input(folder.job, fingerprints(volume, [support])[0])


def test_a_slice_counts_as_finished_only_once_it_is_written(folder: JobFolder) -> None:
    shape = folder.shape[1:]
    first, second = folder.pending()[:2]
    labels = np.arange(np.prod(shape)).reshape(shape) % 3
    confidence = np.linspace(0, 1, labels.size).reshape(shape)
    with SliceWriter(folder) as writer:
        writer.write(first, labels, confidence)
        with pytest.raises(ValueError, match="does not fit"):
            writer.write(second, labels[1:], confidence)
    assert np.flatnonzero(folder.finished()).tolist() == [first]
    assert np.array_equal(folder.result_slice(first), labels)
    assert np.allclose(folder.confidence_slice(first), confidence, atol=0.5 / 255 + 1e-6)
    assert first not in folder.pending()


def test_a_draft_is_kept_and_still_to_be_done_until_it_is_replaced(folder: JobFolder) -> None:
    shape = folder.shape[1:]
    pending = folder.pending()
    first, second = pending[:2]
    with SliceWriter(folder) as writer:
        for index in (first, second):
            writer.write(index, np.full(shape, 1), np.full(shape, 0.5), draft=True)
        assert np.flatnonzero(folder.finished()).tolist() == [first, second]
        assert np.flatnonzero(folder.drafts()).tolist() == [first, second]
        assert folder.pending() == pending
        assert (AXIS.slices(result_of(folder)[0])[[first, second]] == 1).all()
        writer.write(first, np.full(shape, 2), np.ones(shape))
    assert np.flatnonzero(folder.drafts()).tolist() == [second]
    assert folder.pending() == pending[1:]
    assert (AXIS.slices(result_of(folder)[0])[first] == 2).all()
    assert (AXIS.slices(result_of(folder)[0])[second] == 1).all()


def test_a_slice_with_an_unknown_state_is_filled_again(folder: JobFolder) -> None:
    before = folder.pending()
    file = folder.array_path("finished")
    np.save(file, np.full_like(np.load(file), 77))
    opened = JobFolder.open(folder.path)
    assert opened.pending() == before
    assert not opened.finished().any()
    assert not opened.drafts().any()


def test_the_expected_dice_is_read_as_written_and_replaced_as_a_whole(folder: JobFolder) -> None:
    assert folder.expected() == ()
    first = [ExpectedDice(label, 0.5, 0.25, 0.75) for label in folder.labels]
    folder.write_expected_dice(first)
    assert JobFolder.open(folder.path).expected() == tuple(first)
    second = [ExpectedDice(folder.labels[0], np.float32(0.75), np.float32(0.5), 1)]
    folder.write_expected_dice(second)  # type: ignore[arg-type]
    assert folder.expected() == tuple(second)
    assert sorted(path.name for path in folder.layer_path.glob("expected*")) == ["expected.json"]


@pytest.mark.parametrize(
    "figures",
    [
        (0, 0.5, 0.4, 0.6),
        (True, 0.5, 0.4, 0.6),
        (1.0, 0.5, 0.4, 0.6),
        (1, 0.5, 0.6, 0.7),
        (1, 0.5, 0.4, 1.1),
        (1, -0.1, -0.2, 0.5),
        (1, float("nan"), 0.4, 0.6),
        (70000, 0.5, 0.4, 0.6),
        (1, "0.5", 0.4, 0.6),
    ],
)
def test_an_invalid_expected_dice_is_refused(figures: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        ExpectedDice(*figures)


def test_the_result_holds_only_labelled_and_finished_slices(folder: JobFolder) -> None:
    label_map = small_case()[1]
    shape = folder.shape[1:]
    done = folder.pending()[0]
    with SliceWriter(folder) as writer:
        writer.write(done, np.full(shape, 2), np.full(shape, 0.5))
    labels, confidence = (AXIS.slices(array) for array in result_of(folder))
    for index, (one, slice_confidence) in enumerate(zip(labels, confidence, strict=True)):
        if index in folder.indices:
            assert np.array_equal(one, AXIS.slices(label_map.array)[index])
            assert (slice_confidence == 1).all()
        else:
            assert (one == (2 if index == done else 0)).all()
            assert np.allclose(slice_confidence, 0.5 if index == done else 0, atol=1 / 255)


def test_label_values_above_255_are_kept(tmp_path: Path) -> None:
    volume, label_map = small_case()
    large = LabelMap(label_map.array.astype(np.uint16) * 20_000, label_map.geometry)
    folder = make_folder(tmp_path / "job", volume, large, AXIS, 8)
    done = folder.pending()[0]
    with SliceWriter(folder) as writer:
        writer.write(done, np.full(folder.shape[1:], 40_000), np.ones(folder.shape[1:]))
    assert (folder.result_slice(done) == 40_000).all()


def test_the_volume_is_read_once_for_the_fingerprints_of_all_layers(folder: JobFolder) -> None:
    class Counted(np.ndarray):
        slices_read = 0

        def __iter__(self) -> Iterator[Any]:
            for part in np.asarray(self):
                Counted.slices_read += 1
                yield part

    volume, _ = small_case()
    counted = Volume(volume.array.view(Counted), volume.geometry)
    support = folder.read_support()
    other = support.subset([0, 2])
    assert fingerprints(counted, [support, other]) == [fingerprints(volume, [one])[0] for one in (support, other)]
    assert Counted.slices_read == len(volume.array)


def test_a_used_folder_is_refused(folder: JobFolder, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    other = tmp_path / "notes"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (folder.path, other, file):
        with pytest.raises(InputError) as error:
            make_folder(path, *small_case(), AXIS, 8)
        assert error.value.code == "job_folder_used"
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_a_folder_whose_creation_was_interrupted_is_created_again(folder: JobFolder) -> None:
    (folder.path / "job.json").rename(folder.path / "job.json.partial")
    folder.array_path("finished").unlink()
    again = make_folder(folder.path, *small_case(), AXIS, 8)
    assert JobFolder.open(folder.path).pending() == again.pending()


def test_an_incomplete_folder_with_a_file_of_the_user_is_not_changed(folder: JobFolder) -> None:
    (folder.path / "job.json").rename(folder.path / "job.json.partial")
    (folder.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError):
        make_folder(folder.path, *small_case(), AXIS, 8)
    assert (folder.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("missing", [0.5, 0.003])
@pytest.mark.parametrize("existed", [False, True])
def test_a_disk_that_is_full_when_the_folder_is_created_leaves_no_files(
    existed: bool, missing: float, tmp_path: Path
) -> None:
    path = tmp_path / "job"
    if existed:
        path.mkdir()
    volume, _ = small_case()
    with largest_file(int(volume.array.nbytes * (1 - missing))), pytest.raises(InputError) as error:
        make_folder(path, *small_case(), AXIS, 8)
    assert error.value.code == "output_unwritable"
    assert "None" not in str(error.value)
    assert path.exists() == existed
    assert not existed or not list(path.iterdir())


def test_a_new_folder_is_readable_by_its_owner_only_and_an_existing_one_unchanged(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (tmp_path / "open").mkdir()
        for name, mode in (("new", 0o700), ("open", 0o755)):
            make_folder(tmp_path / name, *small_case(), AXIS, 8)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    finally:
        os.umask(before)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError) as error:
        make_folder(tmp_path / "file" / "job", *small_case(), AXIS, 8)
    assert error.value.code == "output_unwritable"
    assert (tmp_path / "file").read_text() == "mine"


def _other_volume(volume: Volume, support: Support, job: Job) -> tuple[Job, Volume, Support]:
    array = volume.array.copy()
    array[3, 3, 3] += 1
    return job, Volume(array, volume.geometry), support


def _other_spacing(volume: Volume, support: Support, job: Job) -> tuple[Job, Volume, Support]:
    return job, Volume(volume.array, replace(volume.geometry, spacing=(1.0, 1.0, 1.5))), support


def _other_label(volume: Volume, support: Support, job: Job) -> tuple[Job, Volume, Support]:
    masks = support.masks.copy()
    masks[0, 0, 0] = 1
    return job, volume, replace(support, masks=masks)


def _other_completeness(volume: Volume, support: Support, job: Job) -> tuple[Job, Volume, Support]:
    return job, volume, replace(support, annotated=~support.annotated)


def _other_range(volume: Volume, support: Support, job: Job) -> tuple[Job, Volume, Support]:
    return replace(job, slices=job.slices[:-1]), volume, support


@pytest.mark.parametrize("change", [_other_volume, _other_spacing, _other_label, _other_completeness, _other_range])
def test_a_job_is_not_resumed_with_other_input(change: Callable[..., Any], folder: JobFolder) -> None:
    volume, _ = small_case()
    job, changed, support = change(volume, folder.read_support(), folder.job)
    with pytest.raises(InputError) as error:
        folder.require_same_input(job, fingerprints(changed, [support])[0])
    assert error.value.code == "job_differs"


def test_a_folder_whose_job_has_a_range_is_resumed(folder: JobFolder) -> None:
    """As version 0.1 wrote them: from start up to stop, labelled slices among them."""
    volume, _ = small_case()
    description = json.loads((folder.path / "job.json").read_text())
    job = description["job"]
    del job["slices"]
    description["job"] = job | {"version": 3, "start": 0, "stop": folder.shape[0]}
    (folder.path / "job.json").write_text(json.dumps(description))
    opened = reopen_folder(folder.path)
    assert opened.pending() == folder.pending()
    opened.require_same_input(folder.job, fingerprints(volume, [folder.read_support()])[0])
    opened.set_budget(60.0)
    assert JobFolder.open(folder.path).job == replace(folder.job, budget=60.0)


def test_slices_to_fill_must_exist_and_be_unlabelled(tmp_path: Path, folder: JobFolder) -> None:
    volume, support = small_case()[0], folder.read_support()
    for slices in ((support.indices[0],), (folder.shape[0],)):
        with pytest.raises(ValueError, match="slices to fill"):
            create_folder(tmp_path / "other", replace(folder.job, slices=slices), volume, support)
        assert not (tmp_path / "other").exists()


# --- damage


FILES = (
    "job.json",
    "image.npy",
    *(f"layers/0/{name}.npy" for name in ("support", "result", "confidence", "finished")),
)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_empty_or_truncated_file_is_refused(name: str, folder: JobFolder) -> None:
    file = folder.path / name
    original = file.read_bytes()
    for data in (None, b"", original[:5], original[: len(original) // 2], original[:-1]):
        file.unlink()
        if data is not None:
            file.write_bytes(data)
        assert refusal(folder.path).code == "job_folder_unreadable"
        file.write_bytes(original)
    assert JobFolder.open(folder.path).pending() == folder.pending()


def test_a_folder_without_events_is_not_damaged(folder: JobFolder) -> None:
    folder.events_path.unlink()
    assert JobFolder.open(folder.path).pending() == folder.pending()


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("axis", 3),
        ("axis", "0"),
        ("axis", None),
        ("labelled", []),
        ("labelled", [5, 3]),
        ("labelled", [1, 10_000]),
        ("labelled", [-1, 3]),
        ("layers", []),
        ("layers", None),
        ("layers", 3),
        ("layers", {"0": {}}),
        ("layers", [{}]),
        ("grid", {}),
        ("grid", {"shape": [1e999, 2, 2]}),
        ("job", {"version": 1}),
        ("job", []),
    ],
)
def test_an_invalid_entry_of_the_job_is_refused(entry: str, value: Any, folder: JobFolder) -> None:
    file = folder.path / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {entry: value}))
    assert refusal(folder.path).code == "job_folder_unreadable"
    with pytest.raises(InputError):
        JobFolder.open_layers(folder.path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("labels", []),
        ("labels", [0, 1]),
        ("labels", [1, 70_000]),
        ("known", [[True]]),
        ("known", None),
        ("names", None),
        ("names", {"one": "liver"}),
    ],
)
def test_an_invalid_entry_of_a_layer_is_refused(entry: str, value: Any, folder: JobFolder) -> None:
    file = folder.path / "job.json"
    description = json.loads(file.read_text())
    description["layers"][0] |= {entry: value}
    file.write_text(json.dumps(description))
    assert refusal(folder.path).code == "job_folder_unreadable"


@pytest.mark.parametrize("name", ["image", "support", "result", "confidence", "finished"])
def test_an_array_of_another_type_or_size_is_refused(name: str, folder: JobFolder) -> None:
    file = folder.array_path(name)
    array = np.load(file)
    for wrong in (array.astype("c8"), array.astype("U1"), array.T if array.ndim > 1 else array[1:], array[:-1]):
        np.save(file, wrong)
        assert refusal(folder.path).code == "job_folder_unreadable"


def test_flipped_bits_in_a_folder_are_refused_or_harmless(folder: JobFolder, tmp_path: Path) -> None:
    generator = random.Random(3)
    headers = {name: (folder.path / name).read_bytes() for name in FILES}
    refused = 0
    for _ in range(500):
        name = generator.choice(FILES)
        data = bytearray(headers[name])
        for _ in range(generator.randrange(1, 4)):
            end = len(data) if name == "job.json" else 128
            data[generator.randrange(end)] = generator.choice(
                [0, 0xFF, generator.randrange(256), *b"0123456789,:[]{}()'\\"]
            )
        (folder.path / name).write_bytes(data)
        try:
            opened = JobFolder.open(folder.path)
        except InputError as error:
            refused += 1
            assert error.code == "job_folder_unreadable"
            assert "\n" not in str(error)
        else:
            opened.pending()
            result_of(opened)
            opened.read_volume()
        (folder.path / name).write_bytes(headers[name])
    assert refused > 150


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[[]]",
        "3",
        "null",
        "[null]",
        '{"label": 1}',
        '[{"label": 1, "dice": 0.5, "low": 0.4}]',
        "[" * 100000,
        '[{"label": 1, "dice": 2, "low": 0.4, "high": 3}]',
        '[{"label": 999, "dice": 0.5, "low": 0.4, "high": 1}]',
    ],
    ids=lambda text: text[:40],
)
def test_a_damaged_expected_dice_is_ignored(text: str, folder: JobFolder) -> None:
    (folder.layer_path / "expected.json").write_text(text)
    assert JobFolder.open(folder.path).expected() == ()


def test_flipped_bits_in_an_expected_dice_are_ignored_or_harmless(folder: JobFolder) -> None:
    generator = random.Random(6)
    file = folder.layer_path / "expected.json"
    folder.write_expected_dice([ExpectedDice(label, 0.5, 0.25, 0.75) for label in folder.labels])
    original = file.read_bytes()
    damaged = 0
    for _ in range(500):
        data = bytearray(original)
        data[generator.randrange(len(data))] = generator.choice(
            [0xFF, generator.randrange(256), *b'0123456789,:[]{}."-e']
        )
        file.write_bytes(data)
        expected = folder.expected()
        damaged += not expected
        assert all(one.label in folder.labels and 0 <= one.low <= one.dice <= one.high <= 1 for one in expected)
    assert damaged > 150


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        assert refusal(path).code == "job_folder_unreadable"


def test_the_folder_can_be_deleted_while_the_volume_is_read(folder: JobFolder) -> None:
    folder.finished()
    folder.result_slice(folder.pending()[0])
    shutil.rmtree(folder.path)
    assert not folder.path.exists()
    assert shutil.disk_usage(folder.path.parent)
    with pytest.raises(FileNotFoundError):
        folder.finished()
