"""Weights without a published checksum: the checksum is recorded once the file has loaded as its model."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.engines.in_context import multiverseg_network as multiverseg_net
from fewshot_annotate.engines.in_context import universeg_network as universeg_net
from fewshot_annotate.weights import catalog, loading, store
from fewshot_annotate.weights.catalog import Checkpoint
from huggingface_hub import constants
from support.tiny_weights import random_sam2, random_seggpt, random_tensors
from support.weights_server import Fault, Server, serving, use_table

TABLE = {row["name"]: row for row in json.loads(catalog.TABLE.read_text(encoding="utf-8"))["checkpoints"]}
# The package of nnInteractive brings many others and is not installed by the tests; its files are tested elsewhere.
NAMES = [name for name, row in TABLE.items() if not (row["sha256"] or row["md5"] or name.startswith("nninteractive"))]
STATES: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "universeg-v1": lambda: random_tensors(universeg_net.state_shapes()),
    "multiverseg-v1": lambda: random_tensors(multiverseg_net.state_shapes()),
    "painter-vit-large": lambda: random_seggpt(type_tokens=False),
    "medsam2-latest": random_sam2,
}


def torch_file(state: object, key: str = "") -> bytes:
    file = io.BytesIO()
    torch.save({key: state} if key else state, file)
    return file.getvalue()


def archive(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, data in entries.items():
            zipped.writestr(name, data)
    return file.getvalue()


@pytest.fixture(scope="module")
def valid_files() -> dict[str, bytes]:
    """A valid file of each checkpoint, with random values."""
    return {name: torch_file(make(), TABLE[name].get("state_key", "")) for name, make in STATES.items()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 5)
    with serving(b"") as server:
        yield server


@pytest.fixture
def published(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Checkpoint]:
    """Make the server the publisher of a checkpoint."""
    return lambda name: use_table(tmp_path, monkeypatch, TABLE[name] | {"url": f"{server.address}/file"})


def download(name: str) -> int:
    return main(["models", "download", name, "--accept-licence", "--progress", "none"])


def altered_in_the_middle(data: bytes) -> bytes:
    """Wrong bytes among right ones, as when a partial download of another file is continued."""
    start, stop = len(data) // 3, len(data) // 2
    return data[:start] + bytes(255 - value for value in data[start:stop]) + data[stop:]


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "an empty file": lambda data: b"",
    "an empty zip": lambda data: archive({}),
    "another zip": lambda data: archive({"notes.txt": b"hello"}),
    "a web page": lambda data: b"<!DOCTYPE html><html>Log in</html>",
    "garbage of the right size": lambda data: os.urandom(len(data)),
    "truncated": lambda data: data[: len(data) // 2],
    "another model": lambda data: torch_file({"a.weight": torch.rand(3, 3)}),
    "another model below the key": lambda data: torch_file({"a.weight": torch.rand(3, 3)}, "model"),
    "a number": lambda data: torch_file(7),
    "a wrong part": altered_in_the_middle,
}


def test_every_checkpoint_without_a_published_checksum_has_a_test_file() -> None:
    assert sorted(NAMES) == sorted(STATES)


# All wrong files for one checkpoint; for the others, those that only loading into the network detects.
CASES = [
    (name, wrong) for name in NAMES for wrong in (WRONG if name == NAMES[0] else ("another model", "a wrong part"))
]


@pytest.mark.parametrize(("name", "wrong"), CASES)
def test_a_wrong_file_is_refused_without_a_record_and_the_correct_one_accepted_afterwards(
    name: str,
    wrong: str,
    valid_files: dict[str, bytes],
    server: Server,
    published: Callable[[str], Checkpoint],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    checkpoint = published(name)
    server.content = WRONG[wrong](valid_files[name])
    (tmp_path / "wrong").write_bytes(server.content)
    for attempt in (lambda: download(name), lambda: main(["models", "import", name, str(tmp_path / "wrong")])):
        assert attempt() == 2
        *_, line = capfd.readouterr().err.splitlines()  # the last line, after those of progress
        assert line.startswith("fewshot-annotate: ")
        assert not [path for path in store.folder().iterdir() if path.suffix != ".lock"]
    server.content = valid_files[name]
    assert download(name) == 0
    assert store.path_of(checkpoint).read_bytes() == valid_files[name]
    assert main(["models", "verify", name]) == 0


def test_a_partial_download_without_checksum_is_not_continued(
    valid_files: dict[str, bytes], server: Server, published: Callable[[str], Checkpoint]
) -> None:
    checkpoint = published("universeg-v1")
    server.content = valid_files["universeg-v1"]
    store.partial_of(checkpoint).parent.mkdir(parents=True)
    store.partial_of(checkpoint).write_bytes(bytes(1000))
    assert download("universeg-v1") == 0
    assert [byte_range for _, byte_range in server.requests] == [""]


def test_a_file_that_differs_from_the_first_one_is_refused_with_advice(
    valid_files: dict[str, bytes],
    server: Server,
    published: Callable[[str], Checkpoint],
    capfd: pytest.CaptureFixture[str],
) -> None:
    checkpoint = published("universeg-v1")
    server.content = valid_files["universeg-v1"]
    assert download("universeg-v1") == 0
    server.content = torch_file(random_tensors(universeg_net.state_shapes(), seed=1))
    assert main(["models", "remove", "--yes", "universeg-v1"]) == 0
    capfd.readouterr()
    assert download("universeg-v1") == 2
    line = capfd.readouterr().err
    assert "fewshot-annotate models remove universeg-v1 --forget" in line
    assert main(["models", "remove", "--yes", "universeg-v1", "--forget"]) == 0
    assert download("universeg-v1") == 0
    assert store.path_of(checkpoint).read_bytes() == server.content


@pytest.mark.parametrize("known", [False, True])
def test_an_endless_answer_is_cut_off(
    known: bool,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    size = 300_000
    monkeypatch.setattr(store, "MAX_UNKNOWN_BYTES", size)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)
    row = TABLE["universeg-v1"] | {"url": f"{server.address}/file", "size": size if known else None}
    use_table(tmp_path, monkeypatch, row | {"sha256": "0" * 64} if known else row)
    server.faults = [Fault.ENDLESS] * 9
    assert download("universeg-v1") == 2
    assert f"longer than {size} bytes" in capfd.readouterr().err
    assert not [path for path in store.folder().iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize("status", [299, 304, 418, 451, 499, 599, 799, 999])
def test_an_unexpected_status_is_reported_in_one_line(
    status: int, server: Server, published: Callable[[str], Checkpoint], capfd: pytest.CaptureFixture[str]
) -> None:
    published("universeg-v1")
    server.status = status
    assert download("universeg-v1") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("fewshot-annotate: ")
    assert not [path for path in store.folder().iterdir() if path.suffix not in (".lock", ".partial")]


def test_the_file_that_was_verified_is_loaded_even_if_it_is_replaced_meanwhile(
    valid_files: dict[str, bytes],
    server: Server,
    published: Callable[[str], Checkpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = published("universeg-v1")
    server.content = valid_files["universeg-v1"]
    assert download("universeg-v1") == 0
    expected = loading.load_state(checkpoint)
    other = store.folder() / "other"
    other.write_bytes(torch_file(random_tensors(universeg_net.state_shapes(), seed=1)))
    check = store.require_digests

    def check_then_replace(checkpoint: Checkpoint, path: Path) -> None:
        check(checkpoint, path)
        other.replace(store.path_of(checkpoint))

    monkeypatch.setattr(store, "require_digests", check_then_replace)
    found = loading.load_state(checkpoint)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_weights_with_a_damaged_record_of_their_checksum_are_not_ready(
    valid_files: dict[str, bytes], server: Server, published: Callable[[str], Checkpoint]
) -> None:
    checkpoint = published("universeg-v1")
    server.content = valid_files["universeg-v1"]
    assert download("universeg-v1") == 0
    record = store.record_of(checkpoint)
    for kind in ("junk", "pipe", "folder"):
        record.unlink()
        if kind == "junk":
            record.write_bytes(os.urandom(100))
        elif kind == "pipe":
            os.mkfifo(record)
        else:
            record.mkdir()
        assert not store.is_ready(checkpoint)
