"""A real HTTP server on this machine that sends weights, correctly or with a fault, and a catalog that names it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.weights import catalog
from fewshot_annotate.weights.catalog import Checkpoint

NAME = "toy"
# Long enough that a client with a time limit of seconds gives up.
STALL_SECONDS = 30.0


class Fault(StrEnum):
    """What is wrong with a response."""

    NONE = "none"
    TRUNCATED = "truncated"
    STALL = "stall"
    CORRUPTED = "corrupted"
    REDIRECT = "redirect"
    MISSING = "missing"
    BAD_RANGE = "bad range"
    NO_RANGE = "no range"
    HTML_PAGE = "HTML page"
    UNSAFE_NAME = "unsafe name"
    ENDLESS = "endless"


@dataclass(kw_only=True)
class Server:
    """What a server sends, and which requests it got.

    Attributes
    ----------
    content : bytes
    faults : list of Fault
        Of the next responses, one after the other.
    status : int
        Status code of all responses, which then have no body; 0 for correct ones.
    good_bytes : int
        Bytes that a truncated or stalled response sends.
    requests : list of (str, str)
        Path and range of each request; an empty range is the whole file.
    bytes_per_second : int
        Speed of complete responses; 0 without a limit.
    """

    content: bytes
    faults: list[Fault] = field(default_factory=list)
    good_bytes: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""
    status: int = 0
    bytes_per_second: int = 0
    released: threading.Event = field(default_factory=threading.Event)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            byte_range = self.headers.get("Range", "")
            server.requests.append((self.path, byte_range))
            fault = server.faults.pop(0) if server.faults else Fault.NONE
            if server.status:
                self.send_response(server.status, "Odd")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault is Fault.ENDLESS:
                self.send_response(200)
                self.send_header("Connection", "close")
                self.end_headers()
                while not server.released.is_set():
                    self.wfile.write(bytes(1 << 14))
                return
            if fault is Fault.REDIRECT:
                self.send_response(302)
                self.send_header("Location", f"{server.address}/elsewhere/file.pt")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault in (Fault.MISSING, Fault.BAD_RANGE):
                self.send_error(404 if fault is Fault.MISSING else 416)
                return
            content = server.content
            if fault is Fault.CORRUPTED:
                content = bytes(255 - value for value in content)
            if fault is Fault.HTML_PAGE:
                content = b"<!DOCTYPE html><html>Log in to download</html>"
            start = re.match(r"bytes=(\d+)-", byte_range)
            first = int(start[1]) if start and fault is not Fault.NO_RANGE else 0
            if first > len(content) or (first and first == len(content)):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            if fault is Fault.UNSAFE_NAME:
                self.send_header("Content-Disposition", 'attachment; filename="../../elsewhere.pt"')
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            stop = len(content) if fault not in (Fault.TRUNCATED, Fault.STALL) else first + server.good_bytes
            portion = server.bytes_per_second // 10 or max(1, len(content))
            for begin in range(first, stop, portion):
                self.wfile.write(content[begin : min(begin + portion, stop)])
                if server.bytes_per_second:
                    time.sleep(0.1)
            if fault is Fault.STALL:
                self.wfile.flush()
                server.released.wait(STALL_SECONDS)

        def log_message(self, *_: Any) -> None:
            return

        def handle(self) -> None:
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                return

    return Handler


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """A server for the time of the block."""
    server = Server(content=content)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as http:
        http.daemon_threads = True
        server.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            http.shutdown()


def toy_row(**changes: Any) -> dict[str, Any]:
    """A row of the table of weights."""
    row = {
        "name": NAME,
        "title": "Toy",
        "file": "toy.pt",
        "url": "http://127.0.0.1:9/file.pt",
        "revision": "",
        "size": None,
        "sha256": None,
        "md5": None,
        "checksum_source": "None.",
        "licence": "MIT",
        "licence_url": "https://example.org",
        "permissive": True,
        "restrictions": "None.",
        "citation": "Nobody.",
        "good_at": "Tests.",
        "seconds_per_slice": None,
    }
    return row | changes


def use_table(folder: Path, patch: pytest.MonkeyPatch, *rows: dict[str, Any]) -> Checkpoint:
    """Add rows to the table of weights, and keep files in `folder`; returns the checkpoint of the first row."""
    table = folder / "table.json"
    known = json.loads(catalog.TABLE.read_text(encoding="utf-8"))["checkpoints"]
    table.write_text(json.dumps({"version": 1, "checkpoints": [*rows, *known]}), encoding="utf-8")
    patch.setattr(catalog, "TABLE", table)
    patch.setenv(HOME_VARIABLE, str(folder / "home"))
    return catalog.checkpoint(rows[0]["name"])
