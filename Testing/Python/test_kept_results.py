"""Results that took long to compute are kept elsewhere if their destination cannot be written."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core import temporary
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.results import write_results
from fewshot_annotate.core.storage import write_bytes
from fewshot_annotate.io.files import (
    read_label_maps,
    write_array,
    write_label_maps,
)
from support.disk import largest_file
from support.small_files import GRID, confidence, names_in, random_labels


def test_a_result_that_cannot_be_written_is_saved_in_another_folder(tmp_path: Path) -> None:
    path, other = tmp_path / "out.nii.gz", tmp_path / "other"
    (path / "in the way").mkdir(parents=True)
    other.mkdir()
    good = tmp_path / "good.nrrd"
    with pytest.raises(InputError) as error:
        write_results(
            [
                (path, lambda file: write_label_maps(file, [random_labels()])),
                (good, lambda file: write_array(file, confidence(), GRID)),
            ],
            tmp_path / "not there",
            other,
        )
    assert error.value.code == "output_kept_elsewhere"
    (folder,) = other.iterdir()
    assert str(path) in str(error.value)
    assert str(folder / "out.nii.gz") in str(error.value)
    (read,) = read_label_maps(folder / "out.nii.gz", GRID)
    np.testing.assert_array_equal(read.array, random_labels().array)
    assert [segment.name for segment in read.segments] == [segment.name for segment in random_labels().segments]
    assert good.is_file()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_results_with_the_same_name_are_all_saved(tmp_path: Path) -> None:
    paths = [tmp_path / "1" / "out.nrrd", tmp_path / "2" / "out.nrrd"]
    with pytest.raises(InputError) as error:
        write_results([(path, lambda file: write_array(file, confidence(), GRID)) for path in paths], tmp_path)
    assert error.value.code == "output_folder_absent"
    (folder,) = tmp_path.iterdir()
    assert names_in(folder) == ["2-out.nrrd", "out.nrrd"]
    assert all(str(folder / name) in str(error.value) for name in names_in(folder))


def test_a_full_disk_leaves_no_incomplete_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with largest_file(500), pytest.raises(InputError) as error:
        write_results([(tmp_path / "a.nrrd", lambda file: write_array(file, confidence(), GRID))], tmp_path)
    assert error.value.code == "output_unwritable"
    assert names_in(tmp_path) == []


def test_a_result_is_saved_where_there_is_no_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_folder() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(temporary.tempfile, "tempdir", None)
    monkeypatch.setattr(os, "getcwd", no_folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in the way").mkdir()

    def write(path: Path) -> None:
        if path == tmp_path / "in the way":
            with largest_file(0):
                write_bytes(path, b"x")
        write_bytes(path, b"result")

    with largest_file(0), pytest.raises(OSError, match="no folder for temporary files"):
        temporary.system_folder()
    with pytest.raises(InputError) as error:
        write_results([(tmp_path / "in the way", write)])
    assert error.value.code == "output_kept_elsewhere"


@pytest.mark.parametrize("name", ["full", "caf\udce9"])
def test_a_missing_folder_for_temporary_files_is_reported_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A header that this process has read before needs no temporary file.
    grid = replace(GRID, origin=(5.0 if name == "full" else 6.0, 0.123, 0.456))
    write_array(tmp_path / "image.mha", confidence(), grid)
    write_label_maps(tmp_path / "labels.mha", [replace(random_labels(), geometry=grid)])
    (tmp_path / name).mkdir()
    monkeypatch.setattr(temporary.tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / name))
    with largest_file(0 if name == "full" else 1 << 20):
        assert main(["library", "list"]) == 0
        capsys.readouterr()
        assert main(["suggest", str(tmp_path / "image.mha"), str(tmp_path / "labels.mha")]) == 2
    reason = "no folder for temporary files has room" if name == "full" else "its name is not Unicode"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fewshot-annotate: ")
    assert reason in line
