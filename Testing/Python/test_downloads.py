"""Wrong answers of servers are reported in one line each, and the correct file is accepted afterwards."""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.weights import store as weights
from fewshot_annotate.weights import transfer
from support.weights_server import NAME, toy_row, use_table

# An answer yields bytes to send and pauses in seconds; if it is endless, the client closes the connection.
Answer = Callable[[], Iterator[bytes | float]]


class RawServer:
    """Sends given bytes, valid or not, to each connection."""

    def __init__(self) -> None:
        self.answer: Answer = lambda: iter(())
        self.requests: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/file.pt"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            self.requests.append(head.decode("latin-1"))
            for part in self.answer():
                if isinstance(part, bytes):
                    connection.sendall(part)
                else:
                    time.sleep(part)

    def close(self) -> None:
        self._socket.close()


def head(status: str, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in (*headers, "Connection: close"))
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1")


def torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"a.weight": torch.rand(40, 40)}, file)
    return file.getvalue()


GOOD = torch_file()
LENGTH = f"Content-Length: {len(GOOD)}"
COMPRESSED = gzip.compress(bytes(64 << 20))


def forever(part: bytes) -> Iterator[bytes]:
    while True:
        yield part


def after(first: bytes, *rest: bytes | float) -> Answer:
    return lambda: iter((first, *rest))


def endless(first: bytes) -> Answer:
    def answer() -> Iterator[bytes | float]:
        yield first
        yield from forever(bytes(1 << 16))

    return answer


ANSWERS: dict[str, Answer] = {
    **{
        f"{status} with an endless body": endless(head(status))
        for status in ("302 Found", "401 X", "404 X", "416 X", "500 X", "999 X")
    },
    **{f"{status} with bytes": after(head(status, LENGTH), GOOD) for status in ("400 X", "403 X", "503 X", "204 X")},
    "a wait of years": after(head("429 X", "Retry-After: 99999999", "Content-Length: 0")),
    "a rate limit of years": after(head("429 X", 'RateLimit: "x";r=0;t=99999999', "Content-Length: 0")),
    "a json of bytes": after(head("400 X", "Content-Type: application/json"), b'{"error": \xff'),
    "an endless redirect": endless(head("302 Found", "Location: /there")),
    "redirects without end": after(head("302 Found", "Location: /again", "Content-Length: 0")),
    "a redirect to a local file": after(head("302 Found", "Location: file:///etc/passwd", "Content-Length: 0")),
    "a redirect to no host": after(head("302 Found", "Location: http://a..b/", "Content-Length: 0")),
    "a long host": after(head("302 Found", f"Location: http://{'a' * 300}.example/", "Content-Length: 0")),
    "no number in the range": after(head("206 X", "Content-Range: bytes 0-9/abc", LENGTH), GOOD),
    "a part that was not requested": after(head("206 X", f"Content-Range: bytes 0-{len(GOOD) - 1}/*", LENGTH), GOOD),
    "a file with a huge decompressed size": after(head("200 OK", "Content-Encoding: gzip"), COMPRESSED),
    "a file compressed twice": after(head("200 OK", "Content-Encoding: gzip, gzip"), gzip.compress(COMPRESSED)),
    "an unknown compression": after(head("200 OK", "Content-Encoding: zstd", LENGTH), GOOD),
    "no gzip": after(head("200 OK", "Content-Encoding: gzip", LENGTH), GOOD),
    "an endless file": endless(head("200 OK")),
    "nothing": after(head("200 OK", "Content-Length: 0")),
}


@pytest.fixture
def server() -> Iterator[RawServer]:
    raw_server = RawServer()
    yield raw_server
    raw_server.close()


def row_of(server: RawServer, **published: Any) -> dict[str, Any]:
    return toy_row(url=server.address, size=len(GOOD), **published)


def download() -> int:
    return main(["models", "download", NAME, "--progress", "none"])


@pytest.mark.parametrize("published", [True, False], ids=["published", "first seen"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_is_reported_in_one_line_and_the_correct_file_accepted_afterwards(
    name: str,
    published: bool,
    server: RawServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    digest = {"sha256": hashlib.sha256(GOOD).hexdigest()} if published else {}
    entry = use_table(tmp_path, monkeypatch, row_of(server, **digest))
    server.answer = ANSWERS[name]
    assert download() == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"fewshot-annotate: {server.address}: ")
    assert "bytearray" not in line
    assert not weights.path_of(entry).exists()
    assert not weights.record_of(entry).exists()
    server.answer = after(head("200 OK", LENGTH), GOOD)
    assert download() == 0
    assert weights.path_of(entry).read_bytes() == GOOD


def test_a_download_from_a_very_slow_server_is_stopped_and_continued_later(
    server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    entry = use_table(tmp_path, monkeypatch, row_of(server))

    def drip() -> Iterator[bytes | float]:
        yield head("200 OK", LENGTH)
        for number in range(len(GOOD)):
            yield GOOD[number : number + 1]
            yield 0.05

    monkeypatch.setattr(transfer, "SPEED_SECONDS", 0.5)
    server.answer = drip
    assert download() == 2
    assert "too slowly" in capfd.readouterr().err
    server.answer = after(head("200 OK", LENGTH), GOOD)
    assert download() == 0
    assert weights.path_of(entry).read_bytes() == GOOD


@pytest.mark.parametrize("shift", [-7, 5])
def test_a_part_that_was_not_requested_is_not_appended(
    shift: int, server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(GOOD) // 2
    entry = use_table(tmp_path, monkeypatch, row_of(server, sha256=hashlib.sha256(GOOD).hexdigest()))
    weights.folder().mkdir(parents=True)
    (weights.folder() / f"{entry.file}.partial").write_bytes(GOOD[:half])

    def answer() -> Iterator[bytes | float]:
        if "range:" in server.requests[-1].lower():
            first = half + shift
            yield head("206 X", f"Content-Range: bytes {first}-{len(GOOD) - 1}/{len(GOOD)}")
            yield GOOD[first:]
        else:
            yield head("200 OK", LENGTH)
            yield GOOD

    server.answer = answer
    assert download() == 0
    assert weights.path_of(entry).read_bytes() == GOOD
    assert len(server.requests) == 2


def test_files_are_requested_uncompressed_so_that_parts_fit(
    server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_table(tmp_path, monkeypatch, row_of(server))
    server.answer = after(head("200 OK", LENGTH), GOOD)
    assert download() == 0
    assert "accept-encoding: identity" in server.requests[0].lower()
