"""Unexpected kinds of files in place of a valid one."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from random import Random

KINDS = (
    "missing", "empty", "folder", "loop", "dangling", "pipe", "zero", "random", "full", "terminal", "memory",
    "socket",
    "unreadable", "huge", "other", "link", "parent", "text", "many",
)  # fmt: skip
_HUGE_BYTES = 1 << 38


def make_odd(random: Random, path: Path, others: list[Path]) -> str:
    """Put an unexpected kind of file in the place of a file or folder; returns its description."""
    kind = random.choice(KINDS)
    aside = path.with_name(f"aside-{path.name}"[:200])
    if kind == "unreadable":
        path.chmod(0)
        return kind
    path.rename(aside)
    if kind == "link":
        path.symlink_to(aside.name)
        return kind
    if kind == "other":
        other = random.choice([one for one in others if one.exists()])
        shutil.copytree(other, path) if other.is_dir() else shutil.copyfile(other, path)
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    links = {"loop": path.name, "dangling": "nowhere", "zero": "/dev/zero", "random": "/dev/urandom", "parent": ".."}
    links |= {"full": "/dev/full", "terminal": "/dev/tty", "memory": "/proc/self/mem"}
    if kind in links:
        path.symlink_to(links[kind])
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        _make_socket(path)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(_HUGE_BYTES)
    elif kind == "text":
        path.write_text("hello\n" * random.choice((1, 10_000)), encoding="ascii")
    elif kind == "many":
        path.mkdir()
        for number in range(300):
            (path / f"{number}.dcm").write_bytes(random.randbytes(random.choice((0, 10, 300))))
    return kind


def _make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # addresses of sockets must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name[:90])
    except OSError:
        path.touch()
    finally:
        os.chdir(before)
