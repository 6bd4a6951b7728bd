"""A real Orthanc with its DICOMweb plugin on free loopback ports, and the ways to talk to it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_SECONDS = 60.0
_TITLE = "FSATEST"


class Orthanc:
    """A running server."""

    def __init__(self, http_port: int, dicom_port: int) -> None:
        self.http_port = http_port
        self.dicom_port = dicom_port

    def c_store(self, path: Path) -> None:
        """Send a file by C-STORE with dcmtk's dcmsend."""
        self._run("dcmsend", "-aec", _TITLE, "127.0.0.1", self.dicom_port, path)

    def c_find(self, level: str, **keys: str) -> str:
        """Query by C-FIND with dcmtk's findscu; its whole answer as text."""
        asked = _keys({"QueryRetrieveLevel": level, **keys})
        return self._run("findscu", "-S", "-aec", _TITLE, "127.0.0.1", self.dicom_port, *asked)

    def c_get(self, folder: Path, study: str, series: str) -> list[Path]:
        """Retrieve a series by C-GET with dcmtk's getscu."""
        folder.mkdir()
        keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study, "SeriesInstanceUID": series}
        asked = _keys(keys)
        self._run("getscu", "-S", "-aec", _TITLE, "-od", folder, "127.0.0.1", self.dicom_port, *asked)
        return sorted(folder.iterdir())

    def stow(self, path: Path) -> dict[str, Any]:
        """Send a file by STOW-RS; the server's answer."""
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = head + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        answer = self._http("studies", {"Content-Type": kind, "Accept": "application/dicom+json"}, body)
        found: dict[str, Any] = json.loads(answer[1])
        return found

    def qido(self, what: str) -> list[dict[str, Any]]:
        """Query by QIDO-RS."""
        found: list[dict[str, Any]] = json.loads(self._http(what, {"Accept": "application/dicom+json"})[1])
        return found

    def wado(self, what: str) -> list[bytes]:
        """Retrieve the files of a study, series or instance by WADO-RS."""
        kind, body = self._http(what, {"Accept": 'multipart/related; type="application/dicom"'})
        message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        return [part.get_payload(decode=True) for part in message.get_payload()]  # type: ignore[union-attr,misc]

    def _http(self, what: str, headers: dict[str, str], body: bytes | None = None) -> tuple[str, bytes]:
        address = f"http://127.0.0.1:{self.http_port}/dicom-web/{what}"
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=60) as answer:
            return answer.headers["Content-Type"], answer.read()

    def _run(self, *command: object) -> str:
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Orthanc with an empty store in `folder`, stopped after the block."""
    server = Orthanc(_free_port(), _free_port())
    settings = {
        "Name": "Tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": _TITLE,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "UnknownSopClassAccepted": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    configuration, log = folder / "orthanc.json", folder / "orthanc.log"
    configuration.write_text(json.dumps(settings), encoding="utf-8")
    with log.open("wb") as sink:
        process = subprocess.Popen(["Orthanc", str(configuration)], stdout=sink, stderr=sink)
    try:
        _wait_until_up(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            server.qido("studies")
            return
        except OSError:
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < end, log.read_text(errors="replace")
            time.sleep(0.05)


def _keys(keys: dict[str, str]) -> list[str]:
    """As arguments of dcmtk's programs."""
    return [part for name, value in keys.items() for part in ("-k", f"{name}={value}" if value else name)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
