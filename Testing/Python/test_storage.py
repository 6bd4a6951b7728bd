"""Atomic writes: files appear complete or not at all, also with a full disk, other users or a killed process."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fewshot_annotate.core import temporary
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.file_transaction import FileTransaction, atomic_stream
from fewshot_annotate.core.new_folder import new_folder
from fewshot_annotate.core.results import KEPT_PREFIX
from fewshot_annotate.core.storage import temporary_folder, write_bytes, write_csv, write_json, write_text
from fewshot_annotate.core.temporary import FOLDER_PREFIX, HIDDEN_PREFIX, TemporaryFolder, remove_abandoned
from fewshot_annotate.datasets.batch import WorkerPool, run_batch
from fewshot_annotate.datasets.case_plan import BatchSettings
from fewshot_annotate.engines.threads import temporary_compile_cache
from fewshot_annotate.io.files import (
    WRITABLE_SUFFIXES,
    read_label_maps,
    require_writable,
    sidecar_path,
    write_array,
    write_label_maps,
)
from support.batches import make_dataset, read_valid_manifest
from support.disk import largest_file
from support.processes import Spawned, wait_for
from support.small_files import GRID, OLD, confidence, names_in, random_labels

WRITERS: dict[str, Callable[[Path], None]] = {
    **{f"labels{suffix}": (lambda path: write_label_maps(path, [random_labels()])) for suffix in WRITABLE_SUFFIXES},
    **{
        f"confidence{suffix}": (lambda path: write_array(path, confidence(), GRID))
        for suffix in WRITABLE_SUFFIXES
        if suffix != ".seg.nrrd"
    },
    "bytes.bin": lambda path: write_bytes(path, os.urandom(2000)),
    "text.html": lambda path: write_text(path, "é" * 2000),
    "record.json": lambda path: write_json(path, list(range(2000)), indent=1),
    "table.csv": lambda path: write_csv(path, ["a", "b"], [[n, "x"] for n in range(2000)]),
    "array.npy": lambda path: _write_npy(path),
}


def _write_npy(path: Path) -> None:
    with atomic_stream(path) as stream:
        np.save(stream, confidence())


# --- a full disk


@pytest.mark.parametrize("missing", [1, 4, 8, 9, 20, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("name", WRITERS)
def test_on_a_full_disk_the_old_file_stays_and_the_failure_is_reported(
    name: str, missing: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    size = path.stat().st_size
    sidecar = sidecar_path(path)
    limit = int(size * (1 - missing)) if isinstance(missing, float) else size - missing
    for file in (path, sidecar):
        file.write_bytes(OLD)
    before = names_in(tmp_path)
    with largest_file(limit), pytest.raises(InputError) as error:
        WRITERS[name](path)
    assert error.value.code == "output_unwritable"
    assert str(path) in str(error.value)
    assert "None" not in str(error.value)
    assert path.read_bytes() == sidecar.read_bytes() == OLD
    assert names_in(tmp_path) == before


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_the_old_image_is_kept_if_names_of_labels_do_not_fit_on_the_disk(suffix: str, tmp_path: Path) -> None:
    image = tmp_path / f"label{suffix}"
    image.write_bytes(OLD)
    with largest_file(20_000), pytest.raises(InputError) as error:
        write_label_maps(image, [random_labels(names=400)])
    assert error.value.code == "output_unwritable"
    assert names_in(tmp_path) == [image.name]
    assert image.read_bytes() == OLD


def test_a_with_block_that_fails_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD)
    with pytest.raises(KeyError), FileTransaction() as files:
        files.stream(tmp_path / "a").write(b"new")
        files.stream(tmp_path / "b").write(b"new")
        raise KeyError
    assert names_in(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == OLD


def test_a_file_changed_on_the_disk_before_it_is_renamed_is_detected(tmp_path: Path) -> None:
    with pytest.raises(InputError), atomic_stream(tmp_path / "a") as stream:
        stream.write(b"as it should be")
        (other,) = tmp_path.iterdir()
        with other.open("r+b") as file:
            file.write(b"X")
    assert names_in(tmp_path) == []


# --- other users


def test_links_under_predictable_names_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in WRITERS:
        for guess in (f".{os.getpid()}.{name}", f"{name}.partial", f".{name}", f"{name}.tmp"):
            (folder / guess).symlink_to(victim)
    for name, write in WRITERS.items():
        write(folder / name)
        assert not (folder / name).is_symlink()
    assert victim.read_bytes() == OLD


@pytest.mark.parametrize("planted", ["link", "dangling link", "file", "folder"])
def test_an_existing_file_with_a_temporary_name_is_not_changed(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = iter(["00000000", "11111111"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(words))
    victim, guessed = tmp_path / "victim", tmp_path / f"{HIDDEN_PREFIX}00000000"
    if planted != "dangling link":
        victim.write_bytes(OLD)
    if planted == "folder":
        guessed.mkdir()
        (guessed / "mine").touch()
        monkeypatch.setattr("fewshot_annotate.core.temporary.remove_abandoned", lambda *_: None)
    elif planted == "file":
        guessed.write_bytes(OLD)
        monkeypatch.setattr("fewshot_annotate.core.temporary.remove_abandoned", lambda *_: None)
    else:
        guessed.symlink_to(victim)
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.path.lexists(guessed)
    assert not victim.exists() or victim.read_bytes() == OLD


def test_a_link_in_place_of_the_output_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    (tmp_path / "a").symlink_to(victim)
    write_bytes(tmp_path / "a", b"new")
    assert victim.read_bytes() == OLD
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_is_readable_by_others_only_once_it_is_complete(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with atomic_stream(tmp_path / "a") as stream:
            stream.write(b"x")
            (unfinished,) = tmp_path.iterdir()
            assert stat.S_IMODE(unfinished.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_a_temporary_folder_is_private_and_is_removed(tmp_path: Path) -> None:
    with TemporaryFolder(tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "image").touch()
    assert names_in(tmp_path) == []


def test_a_folder_is_removed_with_one_open_file_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "image").touch()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as all_files:
        all_files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        last = (tmp_path / "open").open("a")
        with contextlib.suppress(OSError):
            while True:
                all_files.enter_context((tmp_path / "open").open("a"))
        last.close()
        temporary.remove_path(folder)
    assert names_in(tmp_path) == ["open"]


def test_a_file_that_does_not_fit_into_a_temporary_folder_is_reported_with_the_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(InputError) as refused, largest_file(10), temporary_folder() as folder:
        write_bytes(folder / "image", bytes(100))
    assert refused.value.data["path"] == str(tmp_path)


# --- killed processes

DYING = """
import os, signal, sys
from pathlib import Path
from fewshot_annotate.core.file_transaction import atomic_stream
from fewshot_annotate.core.temporary import TemporaryFolder
parent = Path(sys.argv[1])
folder = TemporaryFolder(parent).path
(folder / "image").write_bytes(b"x")
with atomic_stream(parent / "a") as stream:
    stream.write(b"half")
    (parent / "ready").touch()
    signal.pause()
"""


def test_files_of_a_dead_process_are_removed_and_those_of_a_live_one_kept(tmp_path: Path, spawned: Spawned) -> None:
    program = spawned.python("-c", DYING, str(tmp_path))
    wait_for((tmp_path / "ready").exists)
    held = names_in(tmp_path)
    assert len(held) == 3
    write_bytes(tmp_path / "b", b"new")
    remove_abandoned(tmp_path, HIDDEN_PREFIX)
    assert names_in(tmp_path) == sorted([*held, "b"])
    program.send_signal(signal.SIGKILL)
    program.wait()
    write_bytes(tmp_path / "b", b"newer")
    assert names_in(tmp_path) == ["b", "ready"]


def test_the_folder_for_temporary_files_is_swept_when_it_is_used_again(
    tmp_path: Path, spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    link = f"{FOLDER_PREFIX}0123456789abcdef"
    (tmp_path / link).symlink_to(tmp_path.parent)
    (tmp_path / f"{KEPT_PREFIX}mine").mkdir()
    code = DYING.replace("TemporaryFolder(parent)", "TemporaryFolder()")
    program = spawned.python("-c", code, str(tmp_path), environment={**os.environ, "TMPDIR": str(tmp_path)})
    wait_for((tmp_path / "ready").exists)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert len(list(tmp_path.glob(f"{FOLDER_PREFIX}*"))) == 2
    with TemporaryFolder():
        pass
    assert names_in(tmp_path) == sorted([link, f"{KEPT_PREFIX}mine", "ready", *hidden(tmp_path)])


@pytest.mark.parametrize(
    "name",
    [
        *(f"{FOLDER_PREFIX}{rest}" for rest in ("out", "ct_spleen", "cafebabe", "errors.log", "0123456789abcdef-2")),
        *(f"{HIDDEN_PREFIX}{rest}" for rest in ("notes", "", "0123abc", "0123abcde", "0123ABCD")),
    ],
)
@pytest.mark.parametrize("is_folder", [True, False])
def test_files_of_the_user_with_names_like_ours_are_not_removed(name: str, is_folder: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    (path.mkdir if is_folder else path.touch)()
    os.utime(path, (0, 0))
    for prefix in (FOLDER_PREFIX, HIDDEN_PREFIX):
        remove_abandoned(tmp_path, prefix)
    assert names_in(tmp_path) == [name]


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(f"{HIDDEN_PREFIX}*")]


# --- names


@pytest.mark.parametrize("change", [str.upper, str.title, str.swapcase])
@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_suffixes_in_any_case_are_written_and_read(suffix: str, change: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / f"x{change(suffix)}"
    require_writable(path)
    write_label_maps(path, [random_labels()])
    (read,) = read_label_maps(path, GRID)
    np.testing.assert_array_equal(read.array, random_labels().array)
    assert [segment.name for segment in read.segments] == [segment.name for segment in random_labels().segments]
    if "nii" in suffix:  # as an independent reader sees it
        lower = path.rename(tmp_path / f"x{suffix}")
        np.testing.assert_array_equal(np.asarray(nibabel.load(lower).dataobj).T, random_labels().array)


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
@pytest.mark.parametrize("letter", ["a", "é", "中"])
def test_the_longest_names_are_written_or_refused_before_the_work(letter: str, suffix: str, tmp_path: Path) -> None:
    written_ones = 0
    for size in (*range(225, 262, 3), 255, 256):
        stem = letter * ((size - len(suffix)) // len(letter.encode()))
        path = tmp_path / f"{stem}{suffix}"
        try:
            require_writable(path)
        except InputError as error:
            assert error.code == "output_unwritable"
            continue
        finally:
            assert names_in(tmp_path) == []
        write_label_maps(path, [random_labels()])
        written_ones += 1
        for file in tmp_path.iterdir():
            file.unlink()
    assert written_ones > 4


@pytest.mark.parametrize("kept", [None, OLD])
@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_the_early_check_changes_no_file(suffix: str, kept: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if kept:
        path.write_bytes(kept)
    before = names_in(tmp_path)
    require_writable(path)
    assert names_in(tmp_path) == before
    assert not kept or path.read_bytes() == kept


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_the_early_check_sees_a_folder_in_the_way_of_the_names(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    sidecar_path(path).mkdir()
    with pytest.raises(InputError) as error:
        require_writable(path)
    assert error.value.code == "output_unwritable"


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_the_early_check_sees_a_full_disk(suffix: str, tmp_path: Path) -> None:
    with largest_file(20), pytest.raises(InputError) as error:
        require_writable(tmp_path / f"a{suffix}")
    assert error.value.code == "output_unwritable"
    assert names_in(tmp_path) == []


def test_compiled_files_of_torch_are_removed_at_exit_unless_the_user_names_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with temporary_compile_cache():
        (Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) / "compiled").write_bytes(b"x")
        assert list(tmp_path.rglob("compiled"))
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    with temporary_compile_cache():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"


@pytest.mark.parametrize("mask", [0o777, 0o277])
def test_a_temporary_folder_can_be_used_and_removed_with_any_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with TemporaryFolder(tmp_path) as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert names_in(tmp_path) == []


def test_new_folders_are_removed_if_nothing_can_be_written_to_them(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "a" / "b"):
        raise OSError("full")
    assert names_in(tmp_path) == []


def test_existing_folders_and_those_with_content_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "a" / "b" / "c"):
        (tmp_path / "a" / "b" / "of another process").touch()
        raise OSError("full")
    assert names_in(tmp_path / "a") == ["b"]
    with new_folder(tmp_path / "d"):
        pass
    assert (tmp_path / "d").is_dir()


def test_json_holds_invalid_unicode(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": "caf\udce9"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="ascii")) == {"path": "caf\udce9"}


# --- a batch that is refused


def files_below(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("existing", ["nothing", "an empty folder", "other files"])
def test_a_batch_that_is_refused_late_does_not_change_its_folder(existing: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    dataset = make_dataset(tmp_path / "data", ["a"])
    output = tmp_path / "new" / "output"
    if existing != "nothing":
        output.mkdir(parents=True)
    if existing == "other files":
        (output / "mine").write_bytes(OLD)
    before = files_below(tmp_path)

    def no_processes() -> WorkerPool:
        raise InputError("scheduler_unreachable", address="tcp://nowhere:1", detail="refused")

    with pytest.raises(InputError):
        run_batch(read_valid_manifest(dataset.manifest), output, BatchSettings(), no_processes, engine="propagate")
    assert files_below(tmp_path) == before


def test_a_folder_removed_by_another_process_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_paths: list[Path] = []

    def after_removal(path: Path, original: Callable[[Path], int | None] = temporary.open_folder) -> int | None:
        opened_paths.append(path)
        if len(opened_paths) == 1:
            path.rmdir()
        return original(path)

    monkeypatch.setattr(temporary, "open_folder", after_removal)
    with temporary.TemporaryFolder(tmp_path) as folder:
        assert opened_paths == [opened_paths[0], folder]
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        temporary.TemporaryFolder(tmp_path / "none")


@pytest.mark.parametrize("existing", [(), (0,), (1,), (0, 1), (0, 1, 2)])
def test_files_renamed_together_are_restored_if_one_cannot_be_renamed(
    existing: tuple[int, ...], tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in "abc"]
    for number in existing:
        paths[number].write_text(f"old {number}")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(InputError), FileTransaction() as files:
        for path in paths:
            files.stream(path).write(b"new")
        files.stream(paths[0]).write(b"new again")
        late = tmp_path / "late"
        files.stream(late).write(b"new")
        late.mkdir()  # in the way when it is renamed
    late.rmdir()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
