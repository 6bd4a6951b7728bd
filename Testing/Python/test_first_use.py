"""Weights without a published checksum: recorded only once they have loaded as their model, from a real server."""

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
    "painter-vit-large": lambda: random_seggpt(types=False),
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
def right() -> dict[str, bytes]:
    """The right file of each checkpoint, with random values."""
    return {name: torch_file(make(), TABLE[name].get("state_key", "")) for name, make in STATES.items()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 5)
    with serving(b"") as server:
        yield server


@pytest.fixture
def published(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Checkpoint]:
    """Lets the server be the publisher of a checkpoint."""
    return lambda name: use_table(tmp_path, monkeypatch, TABLE[name] | {"url": f"{server.address}/file"})


def download(name: str) -> int:
    return main(["models", "download", name, "--accept-licence", "--progress", "none"])


def middle_of_another(data: bytes) -> bytes:
    """As a wrong first part and the right rest give it."""
    start, stop = len(data) // 3, len(data) // 2
    return data[:start] + bytes(255 - value for value in data[start:stop]) + data[stop:]


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "an empty file": lambda data: b"",
    "an empty zip": lambda data: archive({}),
    "another zip": lambda data: archive({"notes.txt": b"hello"}),
    "a web page": lambda data: b"<!DOCTYPE html><html>Log in</html>",
    "garbage of the right size": lambda data: os.urandom(len(data)),
    "cut": lambda data: data[: len(data) // 2],
    "another model": lambda data: torch_file({"a.weight": torch.rand(3, 3)}),
    "another model below the key": lambda data: torch_file({"a.weight": torch.rand(3, 3)}, "model"),
    "a number": lambda data: torch_file(7),
    "a wrong part": middle_of_another,
}


def test_every_checkpoint_without_a_published_checksum_has_a_test_file() -> None:
    assert sorted(NAMES) == sorted(STATES)


# Every wrong file for one checkpoint; for the others those that only their own networks tell from the right one.
TRIED = [
    (name, wrong) for name in NAMES for wrong in (WRONG if name == NAMES[0] else ("another model", "a wrong part"))
]


@pytest.mark.parametrize(("name", "wrong"), TRIED)
def test_a_wrong_file_is_refused_without_a_record_and_the_correct_one_accepted_afterwards(
    name: str,
    wrong: str,
    right: dict[str, bytes],
    server: Server,
    published: Callable[[str], Checkpoint],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    one = published(name)
    server.content = WRONG[wrong](right[name])
    (tmp_path / "wrong").write_bytes(server.content)
    for words in (lambda: download(name), lambda: main(["models", "import", name, str(tmp_path / "wrong")])):
        assert words() == 2
        *_, line = capfd.readouterr().err.splitlines()  # after a line that shows what takes long
        assert line.startswith("fewshot-annotate: ")
        left = {path.name for path in store.folder().iterdir() if path.suffix != ".lock"}
        assert not left
    server.content = right[name]
    assert download(name) == 0
    assert store.path_of(one).read_bytes() == right[name]
    assert main(["models", "verify", name]) == 0


def test_a_partial_download_without_checksum_is_not_continued(
    right: dict[str, bytes], server: Server, published: Callable[[str], Checkpoint]
) -> None:
    one = published("universeg-v1")
    server.content = right["universeg-v1"]
    store.partial_of(one).parent.mkdir(parents=True)
    store.partial_of(one).write_bytes(bytes(1000))
    assert download("universeg-v1") == 0
    assert [asked for _, asked in server.asked] == [""]


def test_a_file_that_differs_from_the_first_one_is_refused_with_advice(
    right: dict[str, bytes],
    server: Server,
    published: Callable[[str], Checkpoint],
    capfd: pytest.CaptureFixture[str],
) -> None:
    one = published("universeg-v1")
    server.content = right["universeg-v1"]
    assert download("universeg-v1") == 0
    server.content = torch_file(random_tensors(universeg_net.state_shapes(), seed=1))
    assert main(["models", "remove", "--yes", "universeg-v1"]) == 0
    capfd.readouterr()
    assert download("universeg-v1") == 2
    line = capfd.readouterr().err
    assert "fewshot-annotate models remove universeg-v1 --forget" in line
    assert main(["models", "remove", "--yes", "universeg-v1", "--forget"]) == 0
    assert download("universeg-v1") == 0
    assert store.path_of(one).read_bytes() == server.content


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


def test_the_file_that_was_verified_is_the_one_that_is_loaded(
    right: dict[str, bytes], server: Server, published: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = published("universeg-v1")
    server.content = right["universeg-v1"]
    assert download("universeg-v1") == 0
    expected = loading.load_state(one)
    other = store.folder() / "other"
    other.write_bytes(torch_file(random_tensors(universeg_net.state_shapes(), seed=1)))
    check = store.require_digests

    def then_exchange(checkpoint: Checkpoint, path: Path) -> None:
        check(checkpoint, path)
        other.replace(store.path_of(one))

    monkeypatch.setattr(store, "require_digests", then_exchange)
    found = loading.load_state(one)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_damaged_record_of_the_checksum_is_ignored(
    right: dict[str, bytes], server: Server, published: Callable[[str], Checkpoint]
) -> None:
    one = published("universeg-v1")
    server.content = right["universeg-v1"]
    assert download("universeg-v1") == 0
    record = store.record_of(one)
    for kind in ("junk", "pipe", "folder"):
        record.unlink()
        record.write_bytes(os.urandom(100)) if kind == "junk" else None
        os.mkfifo(record) if kind == "pipe" else None
        record.mkdir() if kind == "folder" else None
        assert not store.is_ready(one)
