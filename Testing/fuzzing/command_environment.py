"""Unusual environments of a command: unwritable output streams, missing folders, odd variables, low limits."""

from __future__ import annotations

import codecs
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fewshot_annotate.core.data_folder import HOME_VARIABLE

FULL, CLOSED, NO_READER = "/dev/full", "closed", "no reader"
_STREAM_ENDS = (FULL, CLOSED, NO_READER)
# Kinds of a folder that a variable names.
_FOLDERS = ("missing", "file", "closed", "loop", "dangling", "pipe", "relative", "bytes", "blank", "long", "link")
_FOLDER_VARIABLES = ("TMPDIR", "TMPDIR", "HOME", HOME_VARIABLE, HOME_VARIABLE, "MPLCONFIGDIR")
_VARIABLES = (
    ("COLUMNS", ("0", "-1", "1", "nan", "9" * 5000)),
    ("LINES", ("0", "x")),
    ("TERM", ("", "dumb", "\udcff", "x" * 5000)),
    ("LC_ALL", ("C", "xx_YY.UTF-8", "")),
    ("TZ", ("", "No/Where", "\udcff")),
    ("MPLBACKEND", ("nothing", "", "TkAgg")),
    ("OMP_NUM_THREADS", ("0", "-1", "x", "9" * 30)),
    ("CUDA_VISIBLE_DEVICES", ("", "-1", "x")),
    ("SOURCE_DATE_EPOCH", ("x", "-1", "9" * 30)),
    ("FEWSHOT_ANNOTATE_THREADS", ("0", "-1", "x", "nan", "9" * 5000, "1.5", "")),
    ("PYTHONWARNINGS", ("error", "nothing::x")),
    ("PYTHONIOENCODING", ("ascii", "cp1252")),
    ("PYTHONPATH", ("/nowhere", "\udcff")),
    ("PYTHONSAFEPATH", ("1",)),
    ("FORCE_COLOR", ("1",)),
    ("TORCHINDUCTOR_CACHE_DIR", ("/dev/null/x", "")),
    ("http_proxy", ("x", "http://[", "\udcff")),
)
_ENCODINGS = ("ascii", "cp1252", "latin-1", "cp932")


@dataclass(kw_only=True)
class CommandEnvironment:
    """Process environment in which a command runs.

    Attributes
    ----------
    stdout, stderr : str or None
        One of `FULL`, `CLOSED` and `NO_READER`.
    encoding : str
        Encoding of both streams.
    variables : dict of str to str or None
        Environment variables; None removes one.
    largest_file, open_files : int or None
        Largest size of a file in bytes, and number of open files; None keeps the limit of the system.
    umask : int
    folder : str or None
        Kind of the current folder: "removed", "closed" or "deep".
    """

    stdout: str | None = None
    stderr: str | None = None
    encoding: str = "utf-8"
    variables: dict[str, str | None] = field(default_factory=dict)
    largest_file: int | None = None
    open_files: int | None = None
    umask: int = 0o022
    folder: str | None = None

    def open_streams(self, stdout: int, stderr: int) -> None:
        """Give this process its standard streams, by default these descriptors."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, given, end in ((0, nothing, None), (1, stdout, self.stdout), (2, stderr, self.stderr)):
            os.dup2({FULL: _full, NO_READER: _without_reader}[end]() if end in (FULL, NO_READER) else given, number)
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode, encoding=self.encoding, closefd=False) for number, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115, E501  # fmt: skip
        for number, end, name in ((1, self.stdout, "stdout"), (2, self.stderr, "stderr")):
            if end == CLOSED:
                os.close(number)
                setattr(sys, name, None)  # as in Python with closed streams

    def apply(self, folder: Path) -> None:
        """Set variables, limits, and the current folder."""
        for name, value in self.variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        os.umask(self.umask)
        if self.folder:
            self._change_folder(folder)
        if self.largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest_file, self.largest_file))
        if self.open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.open_files, self.open_files))

    def _change_folder(self, folder: Path) -> None:
        os.chdir(folder)
        for name in ["d" * 250] * 15 if self.folder == "deep" else ["here"]:
            Path(name).mkdir(exist_ok=True)
            os.chdir(name)
        if self.folder == "removed":
            Path("../here").rmdir()
        elif self.folder == "closed":
            Path("../here").chmod(0)

    @property
    def stderr_readable(self) -> bool:
        """Whether what the command prints on stderr can be judged."""
        return self.stderr is None

    @property
    def stdout_readable(self) -> bool:
        """Whether what the command prints on stdout can be judged."""
        return self.stdout is None

    @property
    def stdout_fails(self) -> bool:
        """Whether writing to stdout is an error."""
        return self.stdout in (FULL, NO_READER)

    def data_folder(self, folder: Path) -> Path:
        """The user's data folder."""
        return folder / "workspace" / (self.variables.get(HOME_VARIABLE) or folder / "home")


def _full() -> int:
    return os.open(FULL, os.O_WRONLY)


def _without_reader() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def random_environment(random: Random, folder: Path) -> tuple[str, CommandEnvironment]:
    """An environment that is unusual in one way, and a description of it."""
    kinds: tuple[Callable[[Random, Path], tuple[str, CommandEnvironment]], ...] = (
        *(_stdout, _stdout, _stderr, _encoding, _largest_file, _largest_file, _largest_file),
        *(
            _open_files,
            _umask,
            _current_folder,
            _folder_of_variable,
            _folder_of_variable,
            _folder_of_variable,
            _variable,
            _variable,
        ),
    )
    return random.choice(kinds)(random, folder)


def _stdout(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    end = random.choice(_STREAM_ENDS)
    return f"stdout is {end}", CommandEnvironment(stdout=end)


def _stderr(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    end = random.choice(_STREAM_ENDS)
    return f"stderr is {end}", CommandEnvironment(stderr=end)


def _encoding(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    encoding = codecs.lookup(random.choice(_ENCODINGS)).name
    return f"streams in {encoding}", CommandEnvironment(encoding=encoding)


def _largest_file(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    size = random.choice((0, 1, 100, 1000, 5000, random.randrange(30_000), random.randrange(300_000)))
    return f"no file beyond {size} bytes", CommandEnvironment(largest_file=size)


def _open_files(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    count = random.choice((12, 16, 20, 24, 32))
    return f"{count} open files", CommandEnvironment(open_files=count)


def _umask(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    mask = random.choice((0, 0o777, 0o277, 0o077))
    return f"umask {mask:o}", CommandEnvironment(umask=mask)


def _current_folder(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    kind = random.choice(("removed", "closed", "deep"))
    return f"the current folder is {kind}", CommandEnvironment(folder=kind)


def _folder_of_variable(random: Random, folder: Path) -> tuple[str, CommandEnvironment]:
    name, kind = random.choice(_FOLDER_VARIABLES), random.choice(_FOLDERS)
    path = folder / "user" / f"odd-{kind}-{name}"
    if kind == "file":
        path.write_bytes(b"precious")
    elif kind == "closed":
        path.mkdir(0o500)
    elif kind in ("loop", "dangling", "link"):
        path.symlink_to({"loop": path.name, "dangling": "nowhere", "link": folder / "tmp"}[kind])
    elif kind == "pipe":
        os.mkfifo(path)
    texts = {"missing": str(path / "no" / "such"), "relative": ".", "blank": " ", "long": "/" + "x" * 300}
    texts["bytes"] = f"{path}\udcff\udcfe"
    if os.path.lexists(path) or os.path.lexists(texts["bytes"]):  # by an earlier step
        return _variable(random, folder)
    if kind == "bytes":
        Path(texts[kind]).mkdir()
    return f"{name} is {kind}", CommandEnvironment(variables={name: texts.get(kind, str(path))})


def _variable(random: Random, _folder: Path) -> tuple[str, CommandEnvironment]:
    name, values = random.choice(_VARIABLES)
    value = random.choice((*values, None))
    return f"{name}={value if value is None else value[:40]!r}", CommandEnvironment(variables={name: value})
