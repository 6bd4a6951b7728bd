"""One call of the command line in a forked process, and all of its visible effects."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import hashlib
import os
import resource
import signal
import stat
import sys
import time
import traceback
import types
from dataclasses import dataclass
from pathlib import Path

from .command_environment import CommandEnvironment

MEMORY_BYTES = 12 << 30
_FILE_BYTES = 2 << 30
_MARK = "FEWSHOT_FUZZ_INPUT"
_END_SECONDS = 6.0
_HASHED_BYTES = 64 << 20
_PIPE_BYTES = 1 << 20
# Constants of the kernel: the capabilities by which root ignores the permissions of files.
_OVERRIDE, _READ_SEARCH, _DROP_FROM_BOUNDING_SET, _CAPABILITY_VERSION = 1, 2, 24, 0x20080522
_END_WITH_PARENT = 1


@dataclass
class CallResult:
    """Exit code, output and remaining processes of a call.

    Attributes
    ----------
    code : int or None
        Exit code, -N if signal N ended it, None if it was ended because it took too long.
    seconds : float
    stdout, stderr : str
    left : tuple of str
        Processes that it left behind.
    """

    code: int | None
    seconds: float
    stdout: str
    stderr: str
    left: tuple[str, ...]


def call(
    arguments: list[str], folder: Path, seconds: float, environment: CommandEnvironment | None = None
) -> CallResult:
    """Run the command line in the workspace of `folder`, without access to the user's own files."""
    environment = environment or CommandEnvironment()
    began = time.monotonic()
    mark = f"{_MARK}={folder}"
    streams = [_Stream(folder / name, environment.largest_file is not None) for name in ("stdout", "stderr")]
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            environment.open_streams(*(stream.descriptor for stream in streams))
            code = _as_program(arguments, folder, environment)
        except BaseException:
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        finally:
            os._exit(code)
    code = _waited_for(pid, began + seconds)
    if code is None:
        _end_marked(mark, pid)
        os.waitpid(pid, 0)
    left = _lingering(mark)
    _end_marked(mark, None)
    return CallResult(code, time.monotonic() - began, streams[0].text(), streams[1].text(), left)


class _Stream:
    """An output stream of a command: a file, or a pipe where the length of files is limited."""

    def __init__(self, path: Path, as_pipe: bool) -> None:
        self._path, self._reading = path, None
        if as_pipe:
            self._reading, self.descriptor = os.pipe()
            fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        else:
            self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def text(self) -> str:
        """What was printed, once the command has result."""
        os.close(self.descriptor)
        if self._reading is not None:
            with os.fdopen(self._reading, "rb") as reading:
                self._path.write_bytes(reading.read())
        return self._path.read_bytes().decode("utf-8", "backslashreplace")


def end_with_parent() -> None:
    """End this process when the one that forked it ends, in whatever way."""
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def _as_program(arguments: list[str], folder: Path, environment: CommandEnvironment) -> int:
    from fewshot_annotate.cli import main

    end_with_parent()
    os.setsid()
    os.environ.update(_environment(folder))
    import tempfile

    tempfile.tempdir = None
    os.chdir(folder / "workspace")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _respect_permissions()
    environment.apply(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.modules["__main__"] = types.ModuleType("__main__")  # which processes started by multiprocessing would import
    sys.argv = ["fewshot-annotate", *arguments]
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
    return int(code)


def _environment(folder: Path) -> dict[str, str]:
    nowhere = "http://127.0.0.1:9"
    return {
        _MARK: str(folder),
        "FEWSHOT_ANNOTATE_HOME": str(folder / "home"),
        "HOME": str(folder / "user"),
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), nowhere
        ),
        "HF_ENDPOINT": nowhere,
    }


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _respect_permissions() -> None:
    """Respect permissions of files even as root, in this process and those that it starts."""
    if os.getuid() != 0 or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    for capability in (_OVERRIDE, _READ_SEARCH):
        libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    header, sets = _Header(_CAPABILITY_VERSION, 0), (_Sets * 2)()
    libc.capget(ctypes.byref(header), sets)
    for field in ("effective", "permitted", "inheritable"):
        kept = getattr(sets[0], field) & ~(1 << _OVERRIDE) & ~(1 << _READ_SEARCH)
        setattr(sets[0], field, kept)
    libc.capset(ctypes.byref(header), sets)


def _waited_for(pid: int, until: float) -> int | None:
    pause = 0.002
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(pause)
        pause = min(0.05, pause * 1.3)


def _marked(mark: str) -> list[int]:
    """Processes that were started by the call, or by what it started."""
    found = []
    variable = mark.encode()
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError):
                if variable in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    state = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                    found += [int(name)] if state not in "ZX" else []
    return found


def _lingering(mark: str) -> tuple[str, ...]:
    """Processes that have not ended after some seconds."""
    until = time.monotonic() + _END_SECONDS
    while found := _marked(mark):
        if time.monotonic() > until:
            return tuple(_command_of(pid) for pid in found)
        time.sleep(0.05)
    return ()


def _command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")[:200]
    return str(pid)


def _end_marked(mark: str, pid: int | None) -> None:
    for number in [*([] if pid is None else [pid]), *_marked(mark)]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Kind, permissions and content of each file in the workspace, the user's folders and that of temporary files."""
    found: dict[str, tuple[object, ...]] = {}
    waiting = [folder / part for part in ("workspace", "home", "tmp", "user")]
    while waiting:
        path = waiting.pop()
        about = path.lstat()
        name = os.path.relpath(path, folder)
        mode = stat.S_IMODE(about.st_mode)
        if stat.S_ISDIR(about.st_mode):
            found[name] = ("folder", mode)
            waiting += [path / entry for entry in os.listdir(path)]  # noqa: PTH208
        elif stat.S_ISLNK(about.st_mode):
            found[name] = ("link", os.readlink(path))  # noqa: PTH115
        elif stat.S_ISREG(about.st_mode):
            small = about.st_size <= _HASHED_BYTES
            found[name] = ("file", mode, about.st_size, hashlib.sha1(path.read_bytes()).hexdigest() if small else "")
        else:
            found[name] = ("special", stat.S_IFMT(about.st_mode))
    return found
