"""Comparisons whose files were damaged before they are resumed, and two that are started in one folder."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume, default_segment
from fewshot_annotate.evaluation.case import ComparisonCase
from fewshot_annotate.evaluation.compare import describe_case
from fewshot_annotate.evaluation.design import Trial
from fewshot_annotate.evaluation.trial_store import TrialStore
from fewshot_annotate.evaluation.trials import TrialResult, count_voxels
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs.planning import EngineSettings
from hypothesis import given
from hypothesis import strategies as st
from support.processes import PACKAGE_PARENT

AXIS = SliceAxis(0)
PROPAGATE = EngineSettings("propagate")
TRIAL = Trial(2, 0, 0, (0, 3), (1, 2))
GRID = Geometry((8, 16, 16))


def labels() -> LabelMap:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    for number, index in enumerate((1, 3, 5, 7)):
        array[index, 3 : 8 + number, 4:11] = 1
    return LabelMap(array, GRID, (default_segment(1),))


def image() -> np.ndarray:
    return (np.arange(GRID.shape[0] * 256).reshape(GRID.shape) % 97 + 100 * (labels().array > 0)).astype(np.int16)


@pytest.fixture(scope="module")
def case() -> ComparisonCase:
    return ComparisonCase.from_label_maps(Volume(image(), GRID), [labels()], AXIS, [1, 3, 5, 7])


@pytest.fixture(scope="module")
def outcome(case: ComparisonCase) -> TrialResult:
    masks = np.stack([np.stack([support.masks[row] for row in TRIAL.held_out]) for support in case.supports])
    masks = masks.astype(np.uint16)
    masks[0, 0, 4, 4:7] = 0
    return TrialResult(count_voxels(case, TRIAL.held_out, masks), 1.5, 0.25, masks, ("a warning",))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, case: ComparisonCase, outcome: TrialResult) -> Path:
    """A comparison with one finished trial."""
    folder = tmp_path_factory.mktemp("kept") / "comparison"
    with TrialStore(folder, describe_case(case), resume=False) as store:
        store.save(PROPAGATE, TRIAL, outcome)
    return folder


def files(folder: Path) -> tuple[Path, Path]:
    trials = folder / "runs" / "propagate"
    return trials / f"{TRIAL.name}.json", trials / f"{TRIAL.name}.npz"


def loaded(folder: Path, case: ComparisonCase) -> TrialResult | None:
    with TrialStore(folder, describe_case(case), resume=True) as store:
        return store.load(case, PROPAGATE, TRIAL)


def same(found: TrialResult | None, outcome: TrialResult) -> bool:
    if found is None:
        return False
    assert np.array_equal(found.masks, outcome.masks)
    assert np.array_equal(found.counts, outcome.counts)
    assert (found.start_seconds, found.slice_seconds) == (outcome.start_seconds, outcome.slice_seconds)
    assert found.warnings == outcome.warnings
    return True


def test_a_finished_trial_is_read_as_it_was_written(kept: Path, case: ComparisonCase, outcome: TrialResult) -> None:
    assert same(loaded(kept, case), outcome)


@pytest.mark.parametrize("number", [0, 1])
@given(data=st.data())
def test_a_damaged_file_of_a_trial_is_ignored_or_read_unchanged(
    number: int, kept: Path, case: ComparisonCase, outcome: TrialResult, data: st.DataObject
) -> None:
    path = files(kept)[number]
    content = path.read_bytes()
    offset = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["bit", "cut", "bytes", "doubled"]))
    damaged = bytearray(content)
    if kind == "bit":
        damaged[offset] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del damaged[offset:]
    elif kind == "bytes":
        damaged[offset : offset + 8] = data.draw(st.binary(max_size=8))
    else:
        damaged += damaged[offset:]
    path.write_bytes(damaged)
    try:
        found = loaded(kept, case)
        assert found is None or same(found, outcome)
    finally:
        path.write_bytes(content)


def with_content(**changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path, _ = files(folder)
        content = json.loads(path.read_text(encoding="ascii")) | changed
        del content["checksum"]  # as version 0.1.0 wrote it
        path.write_text(json.dumps(content), encoding="ascii")

    return damage


def with_text(text: str) -> Callable[[Path], None]:
    return lambda folder: files(folder)[0].write_text(text, encoding="utf-8") and None


def with_archive(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez_compressed(files(folder)[1], **arrays)


def zip_bomb(folder: Path) -> None:
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "<u2", "fortran_order": False, "shape": (1, 2, 16, 16)})
    with zipfile.ZipFile(files(folder)[1], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("masks.npy", data.getvalue() + bytes(64 << 20))


def with_shape(*shape: int) -> Callable[[Path], None]:
    """An archive whose array claims more voxels than it has."""

    def damage(folder: Path) -> None:
        data = io.BytesIO()
        np.lib.format.write_array_header_1_0(data, {"descr": "<u2", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(files(folder)[1], "w") as archive:
            archive.writestr("masks.npy", data.getvalue() + bytes(100))

    return damage


def compressed_by(method: int) -> Callable[[Path], None]:
    """An archive that is compressed by another method and damaged."""

    def damage(folder: Path) -> None:
        path = files(folder)[1]
        with zipfile.ZipFile(path) as archive:
            masks = archive.read("masks.npy")
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("masks.npy", masks)
        data = bytearray(path.read_bytes())
        start = data.index(b"masks.npy") + 24
        data[start : start + 8] = bytes(8)
        path.write_bytes(data)

    return damage


def encrypted(folder: Path) -> None:
    path = files(folder)[1]
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)


def as_folder(number: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        files(folder)[number].unlink()
        files(folder)[number].mkdir()

    return damage


def as_pipe(number: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        files(folder)[number].unlink()
        os.mkfifo(files(folder)[number])

    return damage


MASKS = np.zeros((1, 2, 16, 16), dtype=np.uint16)
DAMAGES = {
    "counts of other masks": with_content(counts=[[[1, 2, 3]], [[4, 5, 6]]]),
    "counts too large": with_content(counts=[[[10**400] * 3], [[1] * 3]]),
    "counts negative": with_content(counts=[[[-1] * 3], [[-1] * 3]]),
    "counts ragged": with_content(counts=[[1], [2, 3]]),
    "counts null": with_content(counts=None),
    "seconds huge": with_content(start_seconds=1e300),
    "seconds negative": with_content(slice_seconds=-1),
    "seconds text": with_content(start_seconds="soon"),
    "warnings null": with_content(warnings=None),
    "NaN": with_text('{"start_seconds": NaN}'),
    "nested": with_text("[" * 100_000),
    "a list": with_text("[]"),
    "a number": with_text("7"),
    "not ASCII": with_text("é"),
    "other masks": with_archive(masks=MASKS),
    "masks of another size": with_archive(masks=MASKS[:, :1]),
    "masks of another type": with_archive(masks=MASKS.astype(float)),
    "masks of objects": with_archive(masks=np.array([{}, {}], dtype=object)),
    "no masks": with_archive(other=MASKS),
    "more than masks": with_archive(masks=MASKS, other=MASKS),
    "a zip bomb": zip_bomb,
    "a shape beyond memory": with_shape(1 << 45),
    "a shape of gigabytes": with_shape(1, 2, 1 << 16, 1 << 16),
    "a shape below zero": with_shape(-1),
    "LZMA": compressed_by(zipfile.ZIP_LZMA),
    "bzip2": compressed_by(zipfile.ZIP_BZIP2),
    "encrypted": encrypted,
    "a folder, JSON": as_folder(0),
    "a folder, masks": as_folder(1),
    "a pipe, JSON": as_pipe(0),
    "a pipe, masks": as_pipe(1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_an_inconsistent_trial_is_ignored(
    damage: Callable[[Path], None], kept: Path, case: ComparisonCase, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "comparison"))
    damage(folder)
    assert loaded(folder, case) is None


@pytest.mark.parametrize("link", ["runs", "runs/propagate", "volumes", "volumes/0011"])
def test_trials_are_not_written_through_links(link: str, kept: Path, case: ComparisonCase, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "comparison"))
    path, other = folder / link, tmp_path / "other"
    other.mkdir()
    if path.exists():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(other)
    with pytest.raises(InputError, match=link):
        loaded(folder, case)
    assert not list(other.iterdir())


OBSTACLES: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda path, other: path.symlink_to(other),
    "a file": lambda path, _: path.write_text("x"),
    "a pipe": lambda path, _: os.mkfifo(path),
    "a folder": lambda path, _: (path / "deep").mkdir(parents=True),
}


@pytest.mark.parametrize("make", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_a_file_or_link_in_place_of_the_working_folder_is_replaced_and_not_followed(
    make: Callable[[Path, Path], object], kept: Path, case: ComparisonCase, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "comparison"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("mine")
    make(folder / "working", other)
    with TrialStore(folder, describe_case(case), resume=True) as store:
        assert not store.working.is_symlink()
        assert not list(store.working.iterdir())
    assert not (folder / "working").exists()
    assert [path.name for path in other.iterdir()] == ["mine"]


def test_a_trial_of_version_0_1_is_read(
    kept: Path, case: ComparisonCase, outcome: TrialResult, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "comparison"))
    with_content()(folder)
    assert same(loaded(folder, case), outcome)


# --- the folder as a whole


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "NaN", "é"])
def test_a_comparison_that_cannot_be_read_is_refused(
    text: str, kept: Path, case: ComparisonCase, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "comparison"))
    (folder / "comparison.json").write_text(text, encoding="utf-8")
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError) as caught:
        loaded(folder, case)
    assert caught.value.code == "comparison_damaged"
    assert sorted(folder.rglob("*")) == before


def test_a_folder_with_pictures_of_a_patient_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with TrialStore(tmp_path / "comparison", {"input": ["mine"]}, False):
            assert stat.S_IMODE((tmp_path / "comparison").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_second_start_in_a_new_folder_changes_nothing(case: ComparisonCase, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fewshot_annotate.evaluation.trial_store import TrialStore\n"
        "with TrialStore(Path(sys.argv[1]), {'input': ['mine']}, False): print('held', flush=True); sys.stdin.read()"
    )
    folder = tmp_path / "comparison"
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)},
    )
    assert first.stdin
    assert first.stdout
    try:
        assert first.stdout.readline() == b"held\n"
        for resume, expected in ((False, "comparison_folder_used"), (True, "job_busy")):
            with pytest.raises(InputError) as caught:
                TrialStore(folder, describe_case(case), resume)
            assert caught.value.code == expected
    finally:
        first.stdin.close()
        first.wait(30)
        first.stdout.close()
    assert json.loads((folder / "comparison.json").read_text())["input"] == ["mine"]


@pytest.mark.parametrize("left", ["comparison.lock", ".fsa-0011aabb"])
def test_a_comparison_that_was_killed_as_it_began_can_begin_again(
    left: str, case: ComparisonCase, tmp_path: Path
) -> None:
    folder = tmp_path / "comparison"
    folder.mkdir()
    (folder / left).write_bytes(b"{")
    with TrialStore(folder, describe_case(case), resume=True):
        assert (folder / "comparison.json").exists()


def test_a_study_that_is_refused_late_leaves_no_trials_of_its_volumes(case: ComparisonCase, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    with pytest.raises(InputError), TrialStore(folder, {"study": True}, resume=False):
        with TrialStore(folder / "volumes" / "a", describe_case(case), resume=True):
            pass
        raise InputError("output_unwritable", path=folder, detail="the disk is full")
    assert not folder.exists()


@pytest.mark.slow
def test_compare_runs_damaged_trials_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_array("image.nii.gz", image(), GRID)
    write_label_maps("support.nii.gz", [labels()])
    command = "compare image.nii.gz support.nii.gz -o out --engines propagate --sizes 1 --draws 1 --progress none"
    assert main(command.split()) == 0
    found = json.loads(Path("out/result.json").read_text())
    first, second, *_ = sorted(Path("out/runs/propagate").glob("*.npz"))
    first.write_bytes(b"PK\x03\x04 junk")
    second.with_suffix(".json").write_text("{", encoding="ascii")
    assert main([*command.split(), "--resume"]) == 0
    again = json.loads(Path("out/result.json").read_text())
    assert [point["dice"] for point in again["points"]] == [point["dice"] for point in found["points"]]
