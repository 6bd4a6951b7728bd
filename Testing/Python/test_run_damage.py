"""Run folders that two programs open or that are damaged: the first run and the painted slices do not change."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.slice_writer import SliceWriter
from support.labels import every_nth, keep_slices, overlapping_layers, small_case
from support.processes import PACKAGE_PARENT, make_folder
from support.run_folders import reopen_folder, result_of

AXIS = SliceAxis(0)
ROUNDS = 3
ARRAYS = ("image", "support", "result", "confidence", "finished", "checksums")
ARRAY_FILES = ("image.npy", *(f"layers/0/{name}.npy" for name in ARRAYS[1:]))
FILES = (
    *ARRAY_FILES,
    "job.json",
    "layers/0/expected.json",
    "events.jsonl",
    "worker.log",
    "worker.lock",
)
# Waits for a file, so that both programs start at once, then fills into a new job folder; once per round.
RACER = """
import sys, time
from pathlib import Path
from fewshot_annotate.engines import registry
from fewshot_annotate.cli import main
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
for number in range(rounds):
    (folder / f"ready {number} {sys.argv[3]}").touch()
    while not (folder / f"go {number}").exists():
        time.sleep(0.0005)
    output = folder / f"{number} {sys.argv[3]}{sys.argv[5]}"
    job = folder / f"job {number}"
    words = ["fill", folder / "image.nii.gz", folder / sys.argv[4], "-o", output, "--job-dir", job]
    print("code", main([*map(str, words), "--engine", "propagate", "--progress", "none"]), flush=True)
"""


@pytest.fixture(scope="module")
def painted() -> LabelMap:
    _, label_map = small_case()
    return keep_slices(label_map, AXIS, every_nth(label_map, AXIS, 8))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, painted: LabelMap) -> Path:
    """A folder with an image, its support, the result of `fill`, and a job with half of its slices done."""
    folder = tmp_path_factory.mktemp("template")
    volume, _ = small_case()
    write_array(folder / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / "support.nii.gz", [painted])
    assert fill(folder) == 0
    for name in ("", ".labels.json"):
        (folder / f"out.nii.gz{name}").rename(folder / f"undisturbed.nii.gz{name}")
    file = folder / "job" / "layers" / "0" / "finished.npy"
    flags = np.load(file)
    flags[len(flags) // 2 :] = 0
    np.save(file, flags)
    return folder


@pytest.fixture
def half_done(template: Path, tmp_path: Path) -> Path:
    """Copy of the template."""
    return Path(shutil.copytree(template, tmp_path / "half done"))


@pytest.fixture
def case_folder(half_done: Path) -> Path:
    """Copy of the template without the job."""
    shutil.rmtree(half_done / "job")
    return half_done


def fill(case_folder: Path, *more: str) -> int:
    words = [
        "fill",
        str(case_folder / "image.nii.gz"),
        str(case_folder / "support.nii.gz"),
        "-o",
        str(case_folder / "out.nii.gz"),
    ]
    return main([*words, "--job-dir", str(case_folder / "job"), "--progress", "none", *more])


def slices_of(path: Path) -> np.ndarray:
    (read,) = read_label_maps(path)
    return AXIS.slices(read.array)


def race(case_folder: Path, support: str, suffix: str) -> list[tuple[Path, Path]]:
    """Start two programs at once in one new folder, a few times; returns the outputs of winner and loser."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    command = [sys.executable, "-c", RACER, str(case_folder), str(ROUNDS)]
    racers = [
        subprocess.Popen(
            [*command, name, support, suffix],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for name in "ab"
    ]
    try:
        for number in range(ROUNDS):
            while len(list(case_folder.glob(f"ready {number} *"))) < len(racers):
                assert all(racer.poll() is None for racer in racers)
                time.sleep(0.001)
            (case_folder / f"go {number}").touch()
        printed = [racer.communicate(timeout=120) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    ends = []
    for number in range(ROUNDS):
        codes = [int(re.findall(r"^code (\d+)$", out, re.MULTILINE)[number]) for out, _ in printed]
        assert sorted(codes) == [0, 2], printed
        winner, loser = "ab"[codes.index(0)], "ab"[codes.index(2)]
        ends.append((case_folder / f"{number} {winner}{suffix}", case_folder / f"{number} {loser}{suffix}"))
    lines = [line for _, err in printed for line in err.splitlines()]
    assert len(lines) == ROUNDS
    expected = ("another worker is still running", "is not an empty folder")
    assert [line for line in lines if not any(words in line for words in expected)] == []
    return ends


@pytest.mark.slow
def test_one_of_two_simultaneous_starts_is_refused_and_the_other_is_correct(case_folder: Path) -> None:
    expected = slices_of(case_folder / "undisturbed.nii.gz")
    for number, (winner, loser) in enumerate(race(case_folder, "support.nii.gz", ".nii.gz")):
        assert np.array_equal(slices_of(winner), expected)
        assert not loser.exists()
        assert reopen_folder(case_folder / f"job {number}").pending() == []


@pytest.mark.slow
def test_one_of_two_simultaneous_starts_with_overlapping_segments_is_refused(case_folder: Path) -> None:
    _, labels = small_case()
    painted = [keep_slices(layer, AXIS, every_nth(labels, AXIS, 8)) for layer in overlapping_layers(labels, 2)]
    write_label_maps(case_folder / "layers.seg.nrrd", painted)
    words = [
        "fill",
        case_folder / "image.nii.gz",
        case_folder / "layers.seg.nrrd",
        "-o",
        case_folder / "alone.seg.nrrd",
    ]
    assert main([*map(str, words), "--engine", "propagate", "--progress", "none"]) == 0
    expected = [layer.array for layer in read_label_maps(case_folder / "alone.seg.nrrd")]
    assert len(expected) == 2
    for number, (winner, loser) in enumerate(race(case_folder, "layers.seg.nrrd", ".seg.nrrd")):
        assert all(map(np.array_equal, (layer.array for layer in read_label_maps(winner)), expected))
        assert not loser.exists()
        assert [layer.pending() for layer in JobFolder.reopen_layers(case_folder / f"job {number}")] == [[], []]


def test_a_refused_start_does_not_change_the_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "job", *small_case(), AXIS, 8)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with folder.exclusive(), pytest.raises(InputError):
        make_folder(folder.path, *small_case(), AXIS, 4)
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_a_folder_that_is_being_created_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "job", *small_case(), AXIS, 8)
    (folder.path / "job.json").rename(folder.path / "job.json.partial")
    with folder.exclusive(), pytest.raises(InputError) as caught:
        make_folder(folder.path, *small_case(), AXIS, 8)
    assert caught.value.code == "job_busy"


# --- damage


@pytest.fixture
def stopped(tmp_path: Path) -> JobFolder:
    """A job of which some slices are final, one is a draft and the others are not filled yet."""
    folder = make_folder(tmp_path / "stopped", *small_case(), AXIS, 8)
    with SliceWriter(folder) as writer:
        for number, index in enumerate(folder.pending()[:5]):
            labels = np.full(folder.shape[1:], number % 3)
            writer.write(index, labels, np.full(folder.shape[1:], 0.5), draft=number == 4)
    return folder


@pytest.mark.parametrize("name", ARRAYS)
def test_every_flipped_bit_of_an_array_is_detected(stopped: JobFolder, name: str) -> None:
    generator = random.Random(name)
    path = stopped.array_path(name)
    whole, done = path.read_bytes(), np.flatnonzero(stopped.finished()).tolist()
    results = {index: stopped.result_slice(index) for index in done}
    confidences = {index: stopped.confidence_slice(index) for index in done}
    for _ in range(60):
        data = bytearray(whole)
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        try:
            opened = reopen_folder(stopped.path)
        except InputError as error:
            assert error.code == "job_folder_unreadable"
        else:
            assert name not in ("image", "support")
            for index in np.flatnonzero(opened.finished()).tolist():
                assert np.array_equal(opened.result_slice(index), results[index])
                assert np.array_equal(opened.confidence_slice(index), confidences[index])
        path.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_after_a_flipped_bit_painted_slices_are_those_of_the_support_or_the_job_is_refused(
    half_done: Path, painted: LabelMap, name: str, capsys: pytest.CaptureFixture
) -> None:
    generator = random.Random(name)
    path = half_done / "job" / name
    data = bytearray(path.read_bytes() if path.exists() else b"")
    data = data or bytearray(b"\0")
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(data)
    code = fill(half_done, "--resume")
    printed = capsys.readouterr().err
    if code == 0:
        found = slices_of(half_done / "out.nii.gz")
        labelled = AXIS.slices(painted.array).any(axis=(1, 2))
        assert np.array_equal(found[labelled], AXIS.slices(painted.array)[labelled])
        assert np.array_equal(found, slices_of(half_done / "undisturbed.nii.gz"))
    else:
        assert code == 2
        assert len(printed.splitlines()) == 1
        assert not (half_done / "out.nii.gz").exists()


def test_labelled_slices_of_the_output_come_from_the_support_itself(case_folder: Path, painted: LabelMap) -> None:
    assert fill(case_folder) == 0
    folder = JobFolder.open(case_folder / "job")
    support = folder.read_support()
    np.save(folder.array_path("support"), np.zeros_like(support.masks))
    labels, _ = result_of(folder, support)
    assert np.array_equal(AXIS.slices(labels)[list(support.indices)], support.masks)


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
@pytest.mark.parametrize("name", [*FILES, "cancel"])
def test_links_pipes_and_folders_in_place_of_a_file_are_refused_or_replaced(
    half_done: Path, name: str, kind: str, capsys: pytest.CaptureFixture
) -> None:
    path = half_done / "job" / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(half_done / "nowhere" / "at all")
    code = fill(half_done, "--resume")
    printed = capsys.readouterr().err
    assert code in (0, 1, 2)
    assert len(printed.splitlines()) == (code != 0)
    assert "Traceback" not in printed
    assert (half_done / "out.nii.gz").exists() == (code == 0)


@pytest.mark.parametrize(
    "name", ["job.json.partial", "events.jsonl", *(f"{name}.npy" for name in ARRAYS), *ARRAY_FILES]
)
def test_links_in_a_folder_that_seems_damaged_are_not_followed(tmp_path: Path, name: str) -> None:
    victim, job = tmp_path / "victim", tmp_path / "job"
    victim.write_bytes(b"precious")
    job.mkdir()
    (job / "job.json.partial").touch()
    (job / name).parent.mkdir(parents=True, exist_ok=True)
    (job / name).unlink(missing_ok=True)
    (job / name).symlink_to(victim)
    make_folder(job, *small_case(), AXIS, 8)
    assert victim.read_bytes() == b"precious"
    assert not (job / name).is_symlink()


@pytest.mark.parametrize("name", ["result", "confidence", "finished", "checksums"])
def test_a_link_in_place_of_an_array_is_not_written_through(stopped: JobFolder, tmp_path: Path, name: str) -> None:
    array = stopped.array_path(name)
    victim = tmp_path / "victim.npy"
    array.rename(victim)
    array.symlink_to(victim)
    with pytest.raises(InputError, match="not a regular file"):
        reopen_folder(stopped.path)


@pytest.mark.parametrize("name", ["layers", "layers/0"])
def test_a_link_in_place_of_a_folder_of_arrays_is_not_written_through(
    stopped: JobFolder, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (stopped.path / name).rename(elsewhere)
    (stopped.path / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match="not a regular file"):
        reopen_folder(stopped.path)


# --- folders of version 0.1


def in_the_layout_of_version_0_1(folder: Path) -> list[Path]:
    """Give a job folder the layout of version 0.1: one layer in the folder itself, several in a folder each."""
    description = json.loads((folder / "job.json").read_text(encoding="ascii"))
    image = (folder / "image.npy").read_bytes()
    layers, layer_folders = description.pop("layers"), []
    job = description["job"]
    # Version 0.1 stored a range, labelled slices included, in layer_folder of a list of slices.
    labelled_range = {"version": 3, "start": job["slices"][0], "stop": job["slices"][-1] + 1}
    for number, layer in enumerate(layers):
        layer_folder = folder if len(layers) == 1 else folder / f"layer{number}"
        layer_folder.mkdir(exist_ok=True)
        for file in (folder / "layers" / str(number)).iterdir():
            file.rename(layer_folder / file.name)
        (layer_folder / "image.npy").write_bytes(image)
        old = {name: value for name, value in job.items() if name != "slices"}
        own = {name: value for name, value in layer.items() if name != "names"}
        written = description | own | {"job": old | labelled_range | {"names": layer["names"]}}
        (layer_folder / "job.json").write_text(json.dumps(written), encoding="ascii")
        (layer_folder / "events.jsonl").touch()
        layer_folders.append(layer_folder)
    shutil.rmtree(folder / "layers")
    if len(layers) > 1:
        for name in ("job.json", "image.npy", "events.jsonl"):
            (folder / name).unlink()
    return layer_folders


def as_made_by_version_0_1(folder: Path) -> None:
    """Give a job folder the layout of version 0.1 without what 0.1.0 did not write."""
    in_the_layout_of_version_0_1(folder)
    (folder / "checksums.npy").unlink()
    file = folder / "job.json"
    description = json.loads(file.read_text(encoding="ascii"))
    del description["checksums"]
    file.write_text(json.dumps(description), encoding="ascii")


def fill_overlapping(case_folder: Path, output: str, *more: str) -> int:
    words = [
        "fill",
        str(case_folder / "image.nii.gz"),
        str(case_folder / "layers.seg.nrrd"),
        "-o",
        str(case_folder / output),
    ]
    return main([*words, "--engine", "propagate", "--slices", "all", "--progress", "none", *more])


@pytest.fixture(scope="module")
def overlapping_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image, two segments that overlap, their result, and a job with half of its slices done."""
    folder = tmp_path_factory.mktemp("overlapping")
    volume, labels = small_case()
    write_array(folder / "image.nii.gz", volume.array, volume.geometry)
    painted = [keep_slices(layer, AXIS, every_nth(labels, AXIS, 8)) for layer in overlapping_layers(labels, 2)]
    write_label_maps(folder / "layers.seg.nrrd", painted)
    assert fill_overlapping(folder, "undisturbed.seg.nrrd", "--job-dir", str(folder / "job")) == 0
    for number in range(2):
        file = folder / "job" / "layers" / str(number) / "finished.npy"
        flags = np.load(file)
        flags[len(flags) // 2 :] = 0
        np.save(file, flags)
    return folder


@pytest.fixture
def overlapping(overlapping_template: Path, case_folder: Path) -> Path:
    """As `case_folder`, with a copy of the template of overlapping segments in it."""
    return Path(shutil.copytree(overlapping_template, case_folder, dirs_exist_ok=True))


def require_continued(case_folder: Path) -> None:
    """Require that the job of both layers, when resumed, gives the result of an uninterrupted one."""
    before = [layer.pending() for layer in JobFolder.open_layers(case_folder / "job")]
    assert all(before)
    assert fill_overlapping(case_folder, "out.seg.nrrd", "--job-dir", str(case_folder / "job"), "--resume") == 0
    found, expected = (read_label_maps(case_folder / f"{name}.seg.nrrd") for name in ("out", "undisturbed"))
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.array, other.array)
    assert [layer.pending() for layer in JobFolder.open_layers(case_folder / "job")] == [[], []]


def test_layers_share_one_image(overlapping: Path) -> None:
    files = sorted(str(file.relative_to(overlapping / "job")) for file in (overlapping / "job").rglob("*.npy"))
    assert files == ["image.npy", *(f"layers/{k}/{name}.npy" for k in range(2) for name in sorted(ARRAYS[1:]))]


def test_a_run_of_several_layers_is_continued(overlapping: Path) -> None:
    require_continued(overlapping)


def test_a_run_with_a_folder_for_each_layer_is_continued(overlapping: Path) -> None:
    layer_folders = in_the_layout_of_version_0_1(overlapping / "job")
    assert [layer_folder.name for layer_folder in layer_folders] == ["layer0", "layer1"]
    require_continued(overlapping)
    assert not (overlapping / "job" / "layers").exists()


def test_a_run_of_several_layers_is_not_continued_with_a_single_layer(
    overlapping: Path, capsys: pytest.CaptureFixture
) -> None:
    assert fill(overlapping, "--engine", "propagate", "--slices", "all", "--resume") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "was started with another image or labels" in line


def test_a_flat_folder_of_one_layer_is_continued(half_done: Path) -> None:
    in_the_layout_of_version_0_1(half_done / "job")
    assert JobFolder.open(half_done / "job").pending()
    assert fill(half_done, "--resume") == 0
    assert np.array_equal(slices_of(half_done / "out.nii.gz"), slices_of(half_done / "undisturbed.nii.gz"))


def test_a_folder_without_checksums_is_continued(half_done: Path) -> None:
    as_made_by_version_0_1(half_done / "job")
    assert fill(half_done, "--resume") == 0
    assert np.array_equal(slices_of(half_done / "out.nii.gz"), slices_of(half_done / "undisturbed.nii.gz"))


@pytest.mark.parametrize("name", ["image", "support"])
def test_damaged_input_of_a_folder_without_checksums_is_detected(stopped: JobFolder, name: str) -> None:
    as_made_by_version_0_1(stopped.path)
    path = stopped.path / f"{name}.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="image or labels are damaged"):
        reopen_folder(stopped.path)


def test_slices_with_unknown_label_values_are_filled_again(stopped: JobFolder) -> None:
    as_made_by_version_0_1(stopped.path)
    stopped = JobFolder.open(stopped.path)
    path = stopped.array_path("result")
    result = np.load(path)
    first, second = np.flatnonzero(stopped.finished())[:2].tolist()
    result[first, 3, 3] = 77
    np.save(path, result)
    opened = reopen_folder(stopped.path)
    assert first in opened.pending()
    assert second not in opened.pending()
    assert isinstance(opened.read_volume(), Volume)
