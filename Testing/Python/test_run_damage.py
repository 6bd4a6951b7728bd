"""Run folders that two programs want, or that were damaged: the first run stays whole, painted slices stay so."""

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
from FewShotAnnotateLib.cli import main
from FewShotAnnotateLib.core.axis import SliceAxis
from FewShotAnnotateLib.core.errors import InputError
from FewShotAnnotateLib.core.files import read_label_maps, write_array, write_label_maps
from FewShotAnnotateLib.core.volume import LabelMap, Volume
from FewShotAnnotateLib.run.folder import JobFolder, SliceWriter
from support.labels import every, keep_slices, small_case
from support.processes import PACKAGE_PARENT, make_folder

AXIS = SliceAxis(0)
ROUNDS = 6
ARRAYS = ("image", "support", "result", "confidence", "finished", "checksums")
FILES = (
    *(f"{name}.npy" for name in ARRAYS),
    "job.json",
    "expected.json",
    "events.jsonl",
    "worker.log",
    "worker.lock",
)
# Waits for a file, so that all who wait begin at once; then fills into job folders, one a round.
RACER = """
import sys, time
from pathlib import Path
from FewShotAnnotateLib import engines
from FewShotAnnotateLib.cli import main
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
for number in range(rounds):
    (folder / f"ready {number} {sys.argv[3]}").touch()
    while not (folder / f"go {number}").exists():
        time.sleep(0.0005)
    output = folder / f"{number} {sys.argv[3]}.nii.gz"
    job = folder / f"job {number}"
    words = ["fill", folder / "image.nii.gz", folder / "support.nii.gz", "-o", output, "--job-dir", job]
    print("code", main([*map(str, words), "--engine", "propagate", "--progress", "none"]), flush=True)
"""


@pytest.fixture(scope="module")
def painted() -> LabelMap:
    _, label_map = small_case()
    return keep_slices(label_map, AXIS, every(label_map, AXIS, 8))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, painted: LabelMap) -> Path:
    """A folder with an image, its support, what `fill` makes of them, and the job with half of its slices done."""
    folder = tmp_path_factory.mktemp("template")
    volume, _ = small_case()
    write_array(folder / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / "support.nii.gz", [painted])
    assert fill(folder) == 0
    (folder / "out.nii.gz").rename(folder / "undisturbed.nii.gz")
    file = folder / "job" / "finished.npy"
    flags = np.load(file)
    flags[len(flags) // 2 :] = 0
    np.save(file, flags)
    return folder


@pytest.fixture
def half_done(template: Path, tmp_path: Path) -> Path:
    """As the template, to be damaged."""
    return Path(shutil.copytree(template, tmp_path / "half done"))


@pytest.fixture
def desk(half_done: Path) -> Path:
    """As the template, without a job."""
    shutil.rmtree(half_done / "job")
    return half_done


def fill(desk: Path, *more: str) -> int:
    words = ["fill", str(desk / "image.nii.gz"), str(desk / "support.nii.gz"), "-o", str(desk / "out.nii.gz")]
    return main([*words, "--job-dir", str(desk / "job"), "--progress", "none", *more])


def slices_of(path: Path) -> np.ndarray:
    (read,) = read_label_maps(path)
    return AXIS.slices(read.array)


def test_of_two_starts_in_one_new_folder_one_wins_and_its_result_is_right(desk: Path) -> None:
    expected = slices_of(desk / "undisturbed.nii.gz")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    command = [sys.executable, "-c", RACER, str(desk), str(ROUNDS)]
    racers = [
        subprocess.Popen([*command, name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    try:
        for number in range(ROUNDS):
            while len(list(desk.glob(f"ready {number} *"))) < len(racers):
                assert all(racer.poll() is None for racer in racers)
                time.sleep(0.001)
            (desk / f"go {number}").touch()
        printed = [racer.communicate(timeout=120) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    for number in range(ROUNDS):
        codes = [int(re.findall(r"^code (\d+)$", out, re.MULTILINE)[number]) for out, _ in printed]
        assert sorted(codes) == [0, 2], printed
        winner = "ab"[codes.index(0)]
        assert np.array_equal(slices_of(desk / f"{number} {winner}.nii.gz"), expected)
        assert not (desk / f"{number} {'ab'[codes.index(2)]}.nii.gz").exists()
        assert JobFolder.reopen(desk / f"job {number}").pending() == []
    lines = [line for _, err in printed for line in err.splitlines()]
    assert len(lines) == ROUNDS
    assert all("another worker is still running" in line or "is not an empty folder" in line for line in lines)


def test_a_refused_start_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "job", *small_case(), AXIS, 8)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with folder.exclusive(), pytest.raises(InputError):
        make_folder(folder.path, *small_case(), AXIS, 4)
    assert before == {path.name: path.read_bytes() for path in folder.path.iterdir()}


def test_a_folder_that_is_just_being_made_is_busy(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "job", *small_case(), AXIS, 8)
    (folder.path / "job.json").rename(folder.path / "job.json.partial")
    with folder.exclusive(), pytest.raises(InputError) as caught:
        make_folder(folder.path, *small_case(), AXIS, 8)
    assert caught.value.code == "job_busy"


# --- damage


@pytest.fixture
def stopped(tmp_path: Path) -> JobFolder:
    """A job of which some slices are final, one is a draft and the rest is to be done."""
    folder = make_folder(tmp_path / "stopped", *small_case(), AXIS, 8)
    with SliceWriter(folder) as writer:
        for number, index in enumerate(folder.pending()[:5]):
            labels = np.full(folder.shape[1:], number % 3)
            writer.write(index, labels, np.full(folder.shape[1:], 0.5), draft=number == 4)
    return folder


@pytest.mark.parametrize("name", ARRAYS)
def test_no_flipped_bit_of_an_array_goes_unnoticed(stopped: JobFolder, name: str) -> None:
    chance = random.Random(name)
    path = stopped.path / f"{name}.npy"
    whole, done = path.read_bytes(), np.flatnonzero(stopped.finished()).tolist()
    results = {index: stopped.result_slice(index) for index in done}
    confidences = {index: stopped.confidence_slice(index) for index in done}
    for _ in range(60):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            opened = JobFolder.reopen(stopped.path)
        except InputError as error:
            assert error.code == "job_folder_unreadable"
        else:
            assert name not in ("image", "support")
            for index in np.flatnonzero(opened.finished()).tolist():
                assert np.array_equal(opened.result_slice(index), results[index])
                assert np.array_equal(opened.confidence_slice(index), confidences[index])
        (stopped.path / "finished.npy").write_bytes(whole) if name == "finished" else path.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_after_a_flipped_bit_painted_slices_are_those_of_the_support_or_the_job_is_refused(
    half_done: Path, painted: LabelMap, name: str, capsys: pytest.CaptureFixture
) -> None:
    chance = random.Random(name)
    path = half_done / "job" / name
    data = bytearray(path.read_bytes() if path.exists() else b"")
    data = data or bytearray(b"\0")
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
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


def test_labelled_slices_of_the_output_come_from_the_support_itself(desk: Path, painted: LabelMap) -> None:
    assert fill(desk) == 0
    folder = JobFolder.open(desk / "job")
    support = folder.read_support()
    np.save(folder.path / "support.npy", np.zeros_like(support.masks))
    labels, _ = folder.assemble(support)
    assert np.array_equal(AXIS.slices(labels)[list(support.indices)], support.masks)


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
@pytest.mark.parametrize("name", [*FILES, "cancel"])
def test_something_else_in_place_of_a_file_is_refused_or_harmless(
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


# --- folders of version 0.1.0


def as_made_by_version_0_1(folder: Path) -> None:
    """Take from a job folder what version 0.1.0 did not write."""
    (folder / "checksums.npy").unlink()
    file = folder / "job.json"
    description = json.loads(file.read_text(encoding="ascii"))
    del description["checksums"]
    file.write_text(json.dumps(description), encoding="ascii")


def test_a_folder_without_checksums_is_gone_on_with(half_done: Path) -> None:
    as_made_by_version_0_1(half_done / "job")
    assert fill(half_done, "--resume") == 0
    assert np.array_equal(slices_of(half_done / "out.nii.gz"), slices_of(half_done / "undisturbed.nii.gz"))


@pytest.mark.parametrize("name", ["image", "support"])
def test_damaged_input_of_a_folder_without_checksums_is_found(stopped: JobFolder, name: str) -> None:
    as_made_by_version_0_1(stopped.path)
    path = stopped.path / f"{name}.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="image or labels are damaged"):
        JobFolder.reopen(stopped.path)


def test_values_that_are_no_label_in_a_folder_without_checksums_are_done_again(stopped: JobFolder) -> None:
    as_made_by_version_0_1(stopped.path)
    path = stopped.path / "result.npy"
    result = np.load(path)
    first, second = np.flatnonzero(stopped.finished())[:2].tolist()
    result[first, 3, 3] = 77
    np.save(path, result)
    opened = JobFolder.reopen(stopped.path)
    assert first in opened.pending()
    assert second not in opened.pending()
    assert isinstance(opened.read_volume(), Volume)
