"""Impossible paths, pipes and devices are refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core import paths, reading
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.io.files import require_writable, write_array, write_label_maps

ENDLESS = Path("/dev/zero")
IMPOSSIBLE = ("long", "loop", "zero byte", "in a file", "dangling")
UNREADABLE = (*IMPOSSIBLE, "pipe", "folder", "endless")


@pytest.fixture
def case_folder(tmp_path: Path) -> Path:
    """A folder with an image, its support, and names that nothing can be read from."""
    grid = Geometry((6, 12, 12))
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[[1, 4], 3:8, 3:8] = 1
    write_array(tmp_path / "image.nii.gz", np.arange(864, dtype=np.int16).reshape(grid.shape), grid)
    write_label_maps(tmp_path / "support.nii.gz", [LabelMap(labels, grid)])
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def unreadable_path(case_folder: Path, kind: str) -> Path:
    names = {"long": "n" * 300, "zero byte": "a\0b", "in a file": "image.nii.gz/a"}
    return ENDLESS if kind == "endless" else case_folder / names.get(kind, kind)


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_no_query_of_an_impossible_path_raises_an_error(case_folder: Path, kind: str) -> None:
    path = unreadable_path(case_folder, kind)
    assert not paths.exists(path)
    assert not paths.is_folder(path)
    assert not paths.is_file(path)
    assert paths.size(path) == 0
    assert paths.entries(path) == []
    assert paths.stat(path) is None
    assert paths.resolve(path).is_absolute()
    assert paths.is_same(path, path)
    assert paths.is_inside(path, case_folder)
    assert not paths.is_same(path, case_folder)
    assert paths.is_link(path) == (kind in ("loop", "dangling"))
    assert paths.would_be_overwritten(path) == paths.lexists(path) == (kind in ("loop", "dangling"))
    with pytest.raises(InputError) as caught:
        paths.require_existing(path)
    assert caught.value.code == ("file_missing" if kind in ("in a file", "dangling") else "path_unreachable")


def test_a_removed_current_folder_causes_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert paths.resolve("batch") == Path("batch")
    assert main(["dataset", "list", "batch"]) == 2


def test_the_same_file_is_recognised_under_other_names(case_folder: Path) -> None:
    (case_folder / "link.nii.gz").symlink_to(case_folder / "image.nii.gz")
    os.link(case_folder / "image.nii.gz", case_folder / "hard.nii.gz")
    for name in ("link.nii.gz", "hard.nii.gz", "folder/../image.nii.gz"):
        assert paths.is_same(case_folder / name, case_folder / "image.nii.gz")
        with pytest.raises(InputError, match="replace the input"):
            require_writable(case_folder / name, case_folder / "image.nii.gz")
    assert paths.is_inside(case_folder / "folder" / "new" / "file", case_folder / "folder")
    assert not paths.is_inside(case_folder / "folder2", case_folder / "folder")


def test_only_files_and_folders_with_content_would_be_overwritten(case_folder: Path) -> None:
    assert not paths.would_be_overwritten(case_folder / "folder")
    assert not paths.would_be_overwritten(case_folder / "nowhere")
    assert paths.would_be_overwritten(case_folder)
    assert paths.would_be_overwritten(case_folder / "image.nii.gz")


@pytest.mark.parametrize("kind", UNREADABLE)
def test_only_regular_files_are_read(case_folder: Path, kind: str) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        reading.read_text(unreadable_path(case_folder, kind))
    assert caught.value.strerror


def test_a_text_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text("[" + "1," * 500 + "1]", encoding="ascii")
    assert len(reading.read_json(path)) == 501
    assert len(reading.read_bytes(path, max_bytes=path.stat().st_size)) == path.stat().st_size
    with pytest.raises(OSError, match="more than 1000 bytes"):
        reading.read_json(path, max_bytes=1000)
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)  # a sparse file, which takes no space on the disk
    with pytest.raises(OSError, match="holds more"):
        reading.read_text(path)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "1e999", "1" * 5000, "[" * 100_000, "", "{", "1 2"]
)
def test_json_with_impossible_numbers_or_depth_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no number|too large|the limit|too deeply|line 1 column"):
        reading.parse_json(text)


COMMANDS = {
    "fill image": "fill BAD support.nii.gz -o out.nii.gz",
    "fill support": "fill image.nii.gz BAD -o out.nii.gz",
    "suggest image": "suggest BAD support.nii.gz",
    "suggest support": "suggest image.nii.gz BAD",
    "compare image": "compare BAD support.nii.gz -o out --engines propagate",
    "compare support": "compare image.nii.gz BAD -o out --engines propagate",
    "study": "compare --study BAD -o out --engines propagate",
    "batch": "batch BAD -o out",
    "library save image": "library save task BAD support.nii.gz",
    "library save labels": "library save task image.nii.gz BAD",
    "library import": "library import BAD --name task",
    "export labels": "export BAD --to nifti -o out.nii.gz",
    "export reference": "export support.nii.gz --to dicom-seg -o out.dcm --reference BAD",
    "export image": "export support.nii.gz --to dicom-seg -o out.dcm --derive-series series --image BAD",
    "structures": "export support.nii.gz --to seg-nrrd -o out.seg.nrrd --structures BAD",
    "models import": "models import medsam BAD",
}
OUTPUTS = {
    "fill output": ("fill image.nii.gz support.nii.gz -o BAD", ".nii.gz"),
    "fill confidence": ("fill image.nii.gz support.nii.gz -o out.nii.gz --confidence BAD", ".nii.gz"),
    "fill job": ("fill image.nii.gz support.nii.gz -o out.nii.gz --job-dir BAD", ""),
    "fill resume": ("fill image.nii.gz support.nii.gz -o out.nii.gz --resume --job-dir BAD", ""),
    "compare output": ("compare image.nii.gz support.nii.gz --engines propagate -o BAD", ""),
    "compare resume": ("compare image.nii.gz support.nii.gz --engines propagate --resume -o BAD", ""),
    "batch output": ("batch cases.csv -o BAD", ""),
    "batch resume": ("batch cases.csv --resume -o BAD", ""),
    "export output": ("export support.nii.gz --to nifti -o BAD", ".nii.gz"),
    "export folder": ("export support.nii.gz --to nifti --one-file-per-segment -o BAD", ""),
    "demo": ("demo -o BAD", ""),
}


def refused(
    command: str, path: Path, case_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> str:
    """Run a command that must be refused and change nothing; return its message."""
    monkeypatch.chdir(case_folder)
    (case_folder / "cases.csv").write_text("image,support\nimage.nii.gz,support.nii.gz\n", encoding="ascii")
    before = sorted(file.name for file in case_folder.iterdir())
    assert main([str(path) if argument == "BAD" else argument for argument in command.split()]) == 2
    printed = capsys.readouterr()
    assert sorted(file.name for file in case_folder.iterdir()) == before
    (line,) = [text for text in printed.err.splitlines() if text and not text.startswith("Note: ")]
    assert line.startswith("fewshot-annotate: ")
    assert len(line) < 700
    return line


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_input_that_is_not_a_file_is_refused_in_one_line(
    case_folder: Path, command: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    refused(command, unreadable_path(case_folder, kind), case_folder, monkeypatch, capsys)


@pytest.mark.parametrize("kind", ["long", "loop", "zero byte", "in a file", "pipe"])
@pytest.mark.parametrize(("command", "suffix"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_output_where_no_file_can_be_written_is_refused_in_one_line(
    case_folder: Path,
    command: str,
    suffix: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    path = unreadable_path(case_folder, kind)
    if suffix and kind in ("loop", "pipe"):
        path = path / f"below{suffix}"
    elif suffix:
        path = path.with_name(path.name + suffix) if kind != "in a file" else path / f"a{suffix}"
    refused(command, path, case_folder, monkeypatch, capsys)


@pytest.mark.parametrize("kind", ["long", "loop", "zero byte", "in a file"])
@pytest.mark.parametrize("column", ["image", "support"])
def test_a_manifest_that_names_impossible_files_is_refused_in_one_line(
    case_folder: Path, column: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    row = {"image": "image.nii.gz", "support": "support.nii.gz", column: str(unreadable_path(case_folder, kind))}
    (case_folder / "impossible.csv").write_text(
        f"name,image,support\na,{row['image']},{row['support']}\n", encoding="utf-8"
    )
    assert "row 2" in refused("batch BAD -o out", case_folder / "impossible.csv", case_folder, monkeypatch, capsys)


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "endless"])
def test_names_beside_a_label_map_that_are_not_a_file_are_refused_in_one_line(
    case_folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (case_folder / "support.nii.gz.labels.json").symlink_to(unreadable_path(case_folder, kind))
    line = refused("suggest image.nii.gz BAD", case_folder / "support.nii.gz", case_folder, monkeypatch, capsys)
    assert "label names cannot be read" in line


@pytest.mark.parametrize("kind", ["long", "loop", "in a file", "pipe", "endless"])
@pytest.mark.parametrize(
    "command",
    [
        *("models list", "models info sam-vit-b", "models verify", "models remove sam-vit-b"),
        *("models import sam-vit-b BAD", "models download medsam2-latest --accept-licence --progress none"),
        *("library list", "library show task", "library export task -o out.zip", "library import task.zip"),
        "library save task image.nii.gz support.nii.gz",
    ],
)
def test_an_impossible_data_folder_is_refused_in_one_line(
    case_folder: Path, command: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(case_folder)
    monkeypatch.setenv(HOME_VARIABLE, str(unreadable_path(case_folder, kind)))
    before = sorted(file.name for file in case_folder.iterdir())
    code = main(
        [str(case_folder / "image.nii.gz") if argument == "BAD" else argument for argument in command.split()]
    )
    printed = capsys.readouterr()
    assert code in (0, 2)
    assert len(printed.err.splitlines()) == (code != 0)
    assert sorted(file.name for file in case_folder.iterdir()) == before
