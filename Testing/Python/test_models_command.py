"""`models`: downloads from a real server with faults, import, verify, remove, and their messages."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.locks import open_locked
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.weights import catalog, store
from fewshot_annotate.weights.catalog import Checkpoint
from huggingface_hub import constants
from support.labels import every_nth, keep_slices, small_case
from support.processes import Spawned, wait_for
from support.weights_server import Fault, Server, serving, toy_row, use_table

CHUNK = 1 << 14
TESTING = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def content() -> bytes:
    """A file of weights of some 400 kB."""
    file = io.BytesIO()
    torch.save({"a.weight": torch.rand(10, 10_000)}, file)
    return file.getvalue()


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and a client with a short timeout."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    with serving(content) as server:
        server.good_bytes = 10 * CHUNK
        yield server


Toy = Callable[..., Checkpoint]


@pytest.fixture
def toy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Makes a checkpoint of the server, with the size and checksum that its publisher states."""

    def make(published: bool = True, **row: Any) -> Checkpoint:
        if published:
            row = {"sha256": hashlib.sha256(server.content).hexdigest(), "size": len(server.content), **row}
        return use_table(tmp_path, monkeypatch, toy_row(**{"url": f"{server.address}/file.pt", **row}))

    return make


def download(*options: str) -> int:
    return main(["models", "download", "toy", "--progress", "none", *options])


def error_line(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    (line,) = capfd.readouterr().err.splitlines()
    return line


def files(checkpoint: Checkpoint) -> list[str]:
    """Names of the files beside the lock."""
    return sorted(path.name for path in store.path_of(checkpoint).parent.iterdir() if path.suffix != ".lock")


def test_a_download_leaves_only_the_file(toy: Toy, server: Server) -> None:
    checkpoint = toy()
    assert download() == 0
    assert store.path_of(checkpoint).read_bytes() == server.content
    assert files(checkpoint) == ["toy.pt"]
    assert server.requests == [("/file.pt", "")]


def test_a_correct_file_is_not_downloaded_again(toy: Toy, server: Server) -> None:
    toy()
    assert download() == download() == 0
    assert len(server.requests) == 1


def test_the_name_of_an_engine_refers_to_its_weights(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    toy()
    assert main(["models", "info", "universeg"]) == 0
    out, _ = capfd.readouterr()
    for text in ("universeg-v1", "OpenRAIL++-M", "research only", "Nobody published one", "Butoi"):
        assert text in out


@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.STALL])
def test_a_broken_transfer_continues_where_it_broke_off(toy: Toy, server: Server, fault: Fault) -> None:
    checkpoint = toy()
    server.faults = [fault]
    assert download() == 0
    assert store.path_of(checkpoint).read_bytes() == server.content
    (_, first), (_, second) = server.requests
    assert first == ""
    assert second == f"bytes={server.good_bytes}-"


def test_an_interrupted_download_is_continued_by_the_next_call(
    toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = toy()
    store.partial_of(checkpoint).parent.mkdir(parents=True)
    store.partial_of(checkpoint).write_bytes(server.content[:100_000])
    assert "partly here (0.1 MB)" in shown_state(checkpoint, capfd)
    assert download() == 0
    assert store.path_of(checkpoint).read_bytes() == server.content
    assert server.requests == [("/file.pt", "bytes=100000-")]


def shown_state(checkpoint: Checkpoint, capfd: pytest.CaptureFixture[str]) -> str:
    assert main(["models", "info", checkpoint.name]) == 0
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "state:" in line]
    return line


def test_a_killed_download_continues_where_it_was_killed(toy: Toy, server: Server, spawned: Spawned) -> None:
    server.content, server.good_bytes = bytes(26 << 20), 25 << 20
    server.faults = [Fault.STALL]
    checkpoint = toy()
    program = (
        "import sys\nfrom pathlib import Path\nfrom fewshot_annotate.cli import main\n"
        f"from fewshot_annotate.weights import catalog\ncatalog.TABLE = Path({str(catalog.TABLE)!r})\n"
        "sys.exit(main(['models', 'download', 'toy', '--progress', 'none']))"
    )
    child = spawned.python("-c", program)  # with the default chunk size and timeout of the library
    partial = store.partial_of(checkpoint)
    wait_for(lambda: partial.is_file() and partial.stat().st_size >= 20 << 20)
    child.kill()
    child.communicate()
    partial_size = partial.stat().st_size
    assert not store.path_of(checkpoint).exists()
    assert download() == 0
    assert server.requests[-1] == ("/file.pt", f"bytes={partial_size}-")
    assert store.path_of(checkpoint).stat().st_size == len(server.content)


def test_a_file_with_wrong_content_is_deleted_and_reported(
    toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = toy()
    server.faults = [Fault.CORRUPTED]
    assert download() == 2
    assert "SHA-256" in error_line(capfd).replace("SHA256", "SHA-256")
    assert files(checkpoint) == []
    assert download() == 0


def test_a_wrong_partial_file_does_not_affect_the_next_attempt(toy: Toy, server: Server) -> None:
    checkpoint = toy()
    store.partial_of(checkpoint).parent.mkdir(parents=True)
    store.partial_of(checkpoint).write_bytes(b"x" * 1000)
    assert download() == 2
    assert download() == 0
    assert server.requests == [("/file.pt", "bytes=1000-"), ("/file.pt", "")]


def test_a_redirect_is_followed(toy: Toy, server: Server) -> None:
    checkpoint = toy()
    server.faults = [Fault.REDIRECT]
    assert download() == 0
    assert [path for path, _ in server.requests] == ["/file.pt", "/elsewhere/file.pt"]
    assert store.path_of(checkpoint).read_bytes() == server.content


def test_the_server_does_not_choose_the_name(toy: Toy, server: Server) -> None:
    checkpoint = toy()
    server.faults = [Fault.UNSAFE_NAME]
    assert download() == 0
    assert files(checkpoint) == ["toy.pt"]


def test_a_file_missing_on_the_server_is_reported_and_the_partial_one_kept(
    toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = toy()
    store.partial_of(checkpoint).parent.mkdir(parents=True)
    store.partial_of(checkpoint).write_bytes(server.content[:1000])
    server.faults = [Fault.MISSING]
    assert download() == 2
    line = error_line(capfd)
    assert "404 Not Found" in line
    assert "models import toy FILE" in line
    assert store.partial_of(checkpoint).stat().st_size == 1000


def test_a_partial_file_that_the_server_cannot_continue_is_downloaded_again(toy: Toy, server: Server) -> None:
    checkpoint = toy(published=False, md5=hashlib.md5(server.content, usedforsecurity=False).hexdigest())
    store.partial_of(checkpoint).parent.mkdir(parents=True)
    store.partial_of(checkpoint).write_bytes(server.content)  # complete, but not yet renamed
    assert download() == 0
    assert [byte_range for _, byte_range in server.requests] == [f"bytes={len(server.content)}-", ""]
    assert store.path_of(checkpoint).read_bytes() == server.content


def test_a_refused_range_is_reported_if_there_is_no_partial_file(
    toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    toy()
    server.faults = [Fault.BAD_RANGE]
    assert download() == 2
    assert "416" in error_line(capfd)


def test_a_server_that_cannot_continue_gives_the_whole_file(toy: Toy, server: Server) -> None:
    checkpoint = toy()
    store.partial_of(checkpoint).parent.mkdir(parents=True)
    store.partial_of(checkpoint).write_bytes(server.content[:1000])
    server.faults = [Fault.NO_RANGE]
    assert download() == 0
    assert store.path_of(checkpoint).read_bytes() == server.content


def test_an_unreachable_server_is_reported(
    toy: Toy, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        toy(url=f"http://127.0.0.1:{unused.getsockname()[1]}/file.pt")
        assert download() == 2
    assert "cannot be downloaded" in error_line(capfd)


def test_two_programs_do_not_download_the_same_file_at_once(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = toy()
    store.folder().mkdir(parents=True)
    lock = open_locked(store.folder() / f"{checkpoint.file}.lock")
    assert lock is not None
    with lock:
        assert download() == 2
    assert "another program" in error_line(capfd)


def test_a_checksum_that_was_not_published_is_recorded_and_required_afterwards(
    toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = toy(published=False)
    assert download() == 0
    digest = hashlib.sha256(server.content).hexdigest()
    assert store.record_of(checkpoint).read_text() == f"{digest}  toy.pt\n"
    assert main(["models", "verify", "toy"]) == 0
    assert "first seen" in capfd.readouterr().out
    assert main(["models", "remove", "--yes", "toy"]) == 0
    server.faults = [Fault.CORRUPTED]
    assert download() == 2
    assert "differs" in error_line(capfd)
    assert files(checkpoint) == ["toy.pt.sha256"]
    assert main(["models", "remove", "--yes", "toy", "--forget"]) == 0
    assert files(checkpoint) == []


def test_a_web_page_in_place_of_the_file_is_not_recorded(toy: Toy, server: Server) -> None:
    checkpoint = toy(published=False)
    server.faults = [Fault.HTML_PAGE]
    assert download() == 2
    assert files(checkpoint) == []


def test_a_licence_that_is_not_permissive_needs_consent(
    toy: Toy, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(permissive=False, licence="Research-1.0", restrictions="For research only.")
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))  # no terminal, so no question
    assert download() == 2
    err = capfd.readouterr().err
    assert "For research only." in err
    assert err.splitlines()[-1].endswith("agree with --accept-licence.")
    assert server.requests == []
    assert download("--accept-licence") == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("", 2)])
def test_consent_is_asked_for_at_a_terminal(
    toy: Toy, server: Server, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    toy(permissive=False)
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown)
    assert download() == code
    assert "Do you agree" in shown.getvalue()
    assert bool(server.requests) == (code == 0)


def test_a_log_shows_the_progress_in_tenths(
    toy: Toy, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    toy()
    assert main(["models", "download", "toy"]) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capfd.readouterr().err)
    assert re.search(r"toy \d+ %", shown)


def test_json_progress_is_one_event_a_line(toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    toy()
    server.faults = [Fault.TRUNCATED]
    assert main(["models", "download", "toy", "--progress", "json"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    done = [event["done"] for event in events]
    assert done == sorted(done)
    assert done[-1] == len(server.content)
    assert {(event["event"], event["name"], event["total"]) for event in events} == {
        ("download", "toy", len(server.content))
    }


def test_a_file_can_be_imported_without_internet(
    toy: Toy, server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = toy()
    source = tmp_path / "from a USB drive.pt"
    source.write_bytes(server.content[:-1])
    assert main(["models", "import", "toy", str(source)]) == 2
    assert str(source) in error_line(capfd)
    assert files(checkpoint) == []
    source.write_bytes(server.content)
    assert main(["models", "import", "toy", str(source)]) == 0
    assert store.path_of(checkpoint).read_bytes() == source.read_bytes() == server.content
    assert main(["models", "import", "toy", str(tmp_path / "nothing.pt")]) == 2
    assert server.requests == []


def test_verify_names_changed_files(toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = toy()
    assert main(["models", "verify"]) == 0
    assert "no weights" in capfd.readouterr().out
    assert download() == main(["models", "verify"]) == 0
    store.path_of(checkpoint).write_bytes(server.content[:-1] + b"x")
    capfd.readouterr()
    assert main(["models", "verify"]) == 2
    assert str(store.path_of(checkpoint)) in error_line(capfd)


def test_remove_deletes_whole_and_partial_files(toy: Toy, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = toy()
    assert download() == 0
    store.partial_of(checkpoint).write_bytes(b"x")
    assert main(["models", "remove", "--yes", "toy"]) == 0
    assert files(checkpoint) == []
    assert main(["models", "remove", "--yes", "toy"]) == 0
    assert "was not here" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["../../etc/passwd", "toys", ""])
@pytest.mark.parametrize("action", ["info", "download", "verify", "remove"])
def test_unknown_names_are_refused(toy: Toy, capfd: pytest.CaptureFixture[str], action: str, name: str) -> None:
    toy()
    assert main(["models", action, name]) == 2
    advice = "choose one of: toy" if action == "remove" else "see their names (fewshot-annotate models list)"
    assert advice in error_line(capfd)


def test_list_shows_which_weights_are_present(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    toy()
    assert download() == main(["models", "list"]) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if "│" in line]
    (toy_line,) = [line for line in lines if line.startswith("│ toy")]
    assert "│ here" in toy_line
    (other_line,) = [line for line in lines if line.startswith("│ universeg-v1")]
    assert "not here" in other_line


def test_an_engine_without_weights_has_nothing_to_download(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "adapt"]) == 2
    assert "Engine adapt needs no weights." in error_line(capfd)


if sys.platform == "linux":

    def test_only_download_makes_requests(awkward_path: Path, spawned: Spawned) -> None:
        """The kernel ends the process if it, or one of its workers, makes a request."""
        volume, label_map = small_case()
        image, labels, file = (awkward_path / name for name in ("image.nii.gz", "labels.nii.gz", "file.pth"))
        write_array(image, volume.array, volume.geometry)
        write_label_maps(labels, [keep_slices(label_map, SliceAxis(0), every_nth(label_map, SliceAxis(0), 6))])
        file.write_bytes(b"no weights")
        models = (
            ["list"],
            ["info", "sam-vit-b"],
            ["verify"],
            ["remove", "--yes", "sam-vit-b"],
            ["import", "sam-vit-b", file],
        )
        fill = ["fill", image, labels, "-o", awkward_path / "out.nii.gz", "--engine"]
        compare = ["compare", image, labels, "-o", awkward_path / "report", "--engines", "propagate,sam"]
        commands = [*(["models", *arguments] for arguments in models), [*fill, "sam"], [*fill, "propagate"]]
        commands += [[*compare, "--sizes", "2", "--draws", "1", "--held-out", "1"]]
        commands += [["models", "download", "sam-vit-b"]]
        program = (
            "import sys\n"
            f"sys.path.insert(0, {str(TESTING)!r})\n"
            "from support.offline import forbid_requests\n"
            "forbid_requests()\n"
            "from fewshot_annotate.cli import main\n"
            f"for arguments in {[[str(argument) for argument in arguments] for arguments in commands]!r}:\n"
            "    print('exit', main(arguments), flush=True)\n"
        )
        process = spawned.python("-c", program, environment={HOME_VARIABLE: str(awkward_path / "home")})
        out, _ = process.communicate(timeout=240)
        assert re.findall(r"^exit (\d)", out, re.MULTILINE) == list("00002200")
        assert process.returncode == -signal.SIGSYS  # by the download


def test_a_folder_that_cannot_be_written_is_reported(
    toy: Toy, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file"))
    assert download() == 2
    assert "cannot be written" in error_line(capfd)


def test_nothing_is_downloaded_if_the_disk_is_full(
    toy: Toy, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = toy(size=1 << 60)
    assert download() == 2
    assert "MB are free" in error_line(capfd)
    assert files(checkpoint) == server.requests == []


@pytest.mark.parametrize("action", ["download", "import", "remove"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["toy.pt.partial", "toy.pt.copy", "toy.pt"])
def test_links_pipes_and_folders_in_place_of_weights_are_not_written_through(
    toy: Toy, server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, kind: str, action: str
) -> None:
    toy()
    target, source, path = tmp_path / "target", tmp_path / "source.pt", store.folder() / name
    target.write_bytes(b"precious")
    source.write_bytes(server.content)
    path.parent.mkdir(parents=True)
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "link": lambda: path.symlink_to(target)}[kind]()
    signal.alarm(20)
    code = main(["models", action, "toy", *([str(source)] if action == "import" else [])])
    signal.alarm(0)
    stderr = capfd.readouterr().err
    assert code in (0, 2)
    assert "unexpected" not in stderr
    assert target.read_bytes() == b"precious"
    if action == "import" and kind != "folder":
        assert code == 0
