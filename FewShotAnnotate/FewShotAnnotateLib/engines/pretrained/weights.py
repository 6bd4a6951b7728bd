"""Weights: the published checkpoints as a table, where their files lie, and loading them only as what they should be.

A checkpoint is a file on the user's machine. It is loaded after its checksum matched, by a loader that can build
tensors and nothing else. Fetching files is the business of `download.py`; nothing here uses the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from ...core import paths, reading
from ...core.errors import InputError
from ...core.reading import open_file

if TYPE_CHECKING:
    from torch import Tensor

# Names another folder for everything this program keeps for the user.
HOME_VARIABLE = "FEWSHOT_ANNOTATE_HOME"
TABLE = Path(__file__).with_name("weights.json")
SCHEMA = Path(__file__).with_name("weights.schema.json")
# A name that stays in its folder on every system.
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_READ_BYTES = 1 << 20
_MAX_RECORD_BYTES = 1 << 12
# The pickle of a state dict holds names and shapes only; the largest known one takes under 1 MB.
_MOST_PICKLE_BYTES = 64 << 20
# Names of tensors that one line of text has room for.
_MOST_NAMES = 3


@dataclass(frozen=True)
class Checkpoint:
    """One published file of weights.

    Attributes
    ----------
    name : str
        What users call it.
    title : str
    file : str
        Name of the local file.
    url : str
        Where it is published.
    revision : str
        The pinned commit, release or record; empty if the publisher has none.
    size : int or None
        Bytes as published, None if that is not known.
    sha256, md5 : str or None
        As published. Without either the file's own is recorded on arrival and holds from then on.
    checksum_source : str
        Who published the checksum, or that nobody did.
    licence : str
        SPDX identifier where there is one.
    licence_url : str
    permissive : bool
        Whether any use is allowed; if not, users are asked to agree before a download.
    restrictions : str
        What the licence does not allow, in one line.
    citation : str
    good_at : str
        One line.
    seconds_per_slice : float or None
        About, on two processor cores, with 16 labelled slices where it matters; None if not measured.
    state_key : str
        Name under which the file holds its state dict; empty if it is the file's whole content.
    """

    name: str
    title: str
    file: str
    url: str
    revision: str
    size: int | None
    sha256: str | None
    md5: str | None
    checksum_source: str
    licence: str
    licence_url: str
    permissive: bool
    restrictions: str
    citation: str
    good_at: str
    seconds_per_slice: float | None
    state_key: str = ""

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"{self.file!r} is no plain file name")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Checkpoint:
        """A row of the table."""
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})


def checkpoints() -> tuple[Checkpoint, ...]:
    """All checkpoints of the table, in its order."""
    return _read_table(TABLE, TABLE.stat().st_mtime_ns)


def checkpoint(name: str) -> Checkpoint:
    """The checkpoint of a name.

    Raises
    ------
    InputError
        There is no such checkpoint.
    """
    for one in checkpoints():
        if one.name == name:
            return one
    raise InputError("weights_unknown", name=name, known=", ".join(one.name for one in checkpoints()))


def home() -> Path:
    """The user's data folder; it need not exist."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named)
    try:
        from platformdirs import user_data_path
    except ImportError:
        raise InputError("package_missing", package="platformdirs", install="platformdirs") from None
    return user_data_path("FewShotAnnotate", appauthor=False)


def folder() -> Path:
    """Where files of weights lie; it need not exist."""
    return home() / "weights"


def path_of(checkpoint: Checkpoint) -> Path:
    """The checkpoint's file; it need not exist."""
    return folder() / checkpoint.file


def record_of(checkpoint: Checkpoint) -> Path:
    """File with the SHA-256 that was recorded when the checkpoint first arrived, as `sha256sum` writes it."""
    return folder() / f"{checkpoint.file}.sha256"


def is_ready(checkpoint: Checkpoint) -> bool:
    """Whether the file is there and has a checksum to match. Whether it matches is seen on loading."""
    return paths.is_file(path_of(checkpoint)) and bool(known_digests(checkpoint))


def known_digests(checkpoint: Checkpoint) -> dict[str, str]:
    """Algorithm -> hexadecimal digest that the file must have: as published, else as recorded on arrival."""
    digests = {"sha256": checkpoint.sha256 or _recorded(checkpoint), "md5": checkpoint.md5}
    return {algorithm: digest for algorithm, digest in digests.items() if digest}


def digests_of(path: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """Algorithm -> hexadecimal digest of a file, read once."""
    hashes = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms}
    with open_file(path) as file:
        while part := file.read(_READ_BYTES):
            for one in hashes.values():
                one.update(part)
    return {algorithm: one.hexdigest() for algorithm, one in hashes.items()}


def require_digests(checkpoint: Checkpoint, path: Path) -> None:
    """Raise `InputError` naming `path` if it is not the checkpoint's file, as far as that is known."""
    size = paths.require_file(path).st_size
    if checkpoint.size is not None and size != checkpoint.size:
        raise InputError("weights_size", path=path, found=size, expected=checkpoint.size, name=checkpoint.name)
    wanted = known_digests(checkpoint)
    for algorithm, digest in digests_of(path, wanted).items():
        if digest != wanted[algorithm]:
            published = checkpoint.sha256 if algorithm == "sha256" else checkpoint.md5
            code = "weights_differ" if published else "weights_differ_first"
            raise InputError(code, path=path, algorithm=algorithm.upper(), name=checkpoint.name)


def verified(checkpoint: Checkpoint) -> Path:
    """The checkpoint's file, after its size and checksum matched.

    Raises
    ------
    InputError
        It is not there, nothing is known to compare it with, or it differs.
    """
    with _opened_verified(checkpoint):
        return path_of(checkpoint)


def read_text(checkpoint: Checkpoint) -> str:
    """The checkpoint's file as text, of one that is no weights but a vocabulary. Errors as `verified`."""
    with _opened_verified(checkpoint) as opened:
        return opened.read_text(encoding="utf-8")


@contextmanager
def _opened_verified(checkpoint: Checkpoint) -> Iterator[Path]:
    """A path that leads to the very file that was verified, whatever takes the place of its name meanwhile."""
    path = path_of(checkpoint)
    if not paths.is_file(path):
        raise InputError("weights_missing", name=checkpoint.name, path=path)
    if not known_digests(checkpoint):
        raise InputError("weights_unrecorded", name=checkpoint.name, path=path)
    with open_file(path) as file:
        # Windows does not let anybody put another file in the place of an open one.
        folder = next((folder for folder in (Path("/proc/self/fd"), Path("/dev/fd")) if folder.is_dir()), None)
        opened = folder / str(file.fileno()) if folder else path
        with _told_of(path):
            require_digests(checkpoint, opened)
            yield opened


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Errors in the block name this path."""
    try:
        yield
    except InputError as error:
        raise InputError(error.code, **{**error.data, "path": path}) from None


def load_state(
    checkpoint: Checkpoint,
    expected: Mapping[str, Sequence[int]] | None = None,
    optional: Collection[str] = (),
) -> dict[str, Tensor]:
    """The checkpoint's tensors by name, on the processor, as they are stored.

    Parameters
    ----------
    checkpoint : Checkpoint
    expected : mapping of str to shape, optional
        The names that must be there, and their shapes; others must not.
    optional : collection of str
        Names that may be there beside them, of any shape.

    Raises
    ------
    InputError
        The file is missing, differs from its checksum, is damaged, holds anything but tensors, would unpack to more
        than its size, or is of another architecture.
    """
    with _opened_verified(checkpoint) as opened:
        return read_state(opened, expected, optional, checkpoint.state_key, Path(checkpoint.file).suffix)


def read_state(
    path: Path,
    expected: Mapping[str, Sequence[int]] | None = None,
    optional: Collection[str] = (),
    state_key: str = "",
    suffix: str = "",
) -> dict[str, Tensor]:
    """As `load_state`, from any file; the caller answers for where it came from. `suffix` is its own by default."""
    if (suffix or path.suffix) == ".safetensors":
        return _read_safetensors(path, expected, optional)
    return _read_torch(path, expected, optional, state_key)


def require_sound_archive(path: Path) -> None:
    """Raise `InputError` unless a torch file is whole and each of its entries has the checksum that it says.

    torch itself does not compare these, so a file of which a part is another's would load.
    """
    _require_plain_zip(path)
    try:
        with ZipFile(path) as archive:
            wrong = archive.testzip()
    except (BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
        wrong = "its entries cannot be read"
    if wrong is not None:
        raise InputError("weights_damaged", path=path, detail="a part of it has a wrong checksum")


def require_shapes(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Raise `InputError` naming `path` unless a state has just these names, with these shapes."""
    _require_architecture(path, {name: tuple(one.shape) for name, one in state.items()}, expected, ())


@lru_cache(maxsize=1)
def _read_table(path: Path, _changed: int) -> tuple[Checkpoint, ...]:
    rows = json.loads(path.read_text(encoding="utf-8"))["checkpoints"]
    return tuple(Checkpoint.from_json(row) for row in rows)


def _recorded(checkpoint: Checkpoint) -> str | None:
    try:
        text = reading.read_text(record_of(checkpoint), "ascii", _MAX_RECORD_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
    digest = text.split(" ")[0]
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None


def _read_safetensors(
    path: Path, expected: Mapping[str, Sequence[int]] | None, optional: Collection[str]
) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            _require_architecture(
                path, {name: file.get_slice(name).get_shape() for name in names}, expected, optional
            )
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise InputError("weights_damaged", path=path, detail=_first_line(error)) from None


def _read_torch(
    path: Path, expected: Mapping[str, Sequence[int]] | None, optional: Collection[str], state_key: str
) -> dict[str, Tensor]:
    import torch

    _require_plain_zip(path)
    # First names and shapes alone: what is refused never takes memory.
    shapes = _tensors(path, _unpickle(path, "meta"), state_key)
    size = path.stat().st_size
    if sum(one.numel() * one.element_size() for one in shapes.values()) > size:
        raise InputError("weights_bomb", path=path)
    _require_architecture(path, {name: tuple(one.shape) for name, one in shapes.items()}, expected, optional)
    state = _tensors(path, _unpickle(path, "cpu"), state_key)
    assert all(isinstance(one, torch.Tensor) for one in state.values())
    return state


def _unpickle(path: Path, location: str) -> object:
    """Content of a torch file; nothing but tensors, plain containers and `Namespace` (training settings) is built."""
    from pickle import UnpicklingError

    import torch

    try:
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location=location, weights_only=True, mmap=location == "cpu")
    except UnpicklingError as error:
        if "WeightsUnpickler" in str(error) or "GLOBAL" in str(error):
            raise InputError("weights_code", path=path) from None
        raise InputError("weights_damaged", path=path, detail=_first_line(error)) from None
    except (RuntimeError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError("weights_damaged", path=path, detail=_first_line(error)) from None


def _tensors(path: Path, content: object, state_key: str) -> dict[str, Tensor]:
    import torch

    if state_key and isinstance(content, dict):
        content = content.get(state_key)
    if not isinstance(content, dict) or not content:
        raise InputError("weights_no_state", path=path)
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise InputError("weights_no_state", path=path)
    return dict(content)


def _require_plain_zip(path: Path) -> None:
    """Raise `InputError` unless the file is a zip archive as torch writes them: nothing packed, nothing outside."""
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
    except (BadZipFile, OSError, ValueError, NotImplementedError):
        raise InputError("weights_damaged", path=path, detail="it is no zip archive as torch writes them") from None
    if not entries:
        raise InputError("weights_no_state", path=path)
    if any(".." in entry.filename.split("/") or entry.filename.startswith("/") for entry in entries):
        raise InputError("weights_escape", path=path)
    packed = any(entry.compress_type != ZIP_STORED for entry in entries)
    pickles = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if packed or pickles > _MOST_PICKLE_BYTES or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError("weights_bomb", path=path)


def _require_architecture(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    expected: Mapping[str, Sequence[int]] | None,
    optional: Collection[str],
) -> None:
    if expected is None:
        return
    missing = [name for name in expected if name not in shapes]
    surplus = [name for name in shapes if name not in expected and name not in optional]
    other = [
        f"{name} is {_shape(shapes[name])} and not {_shape(expected[name])}"
        for name in expected
        if name in shapes and tuple(shapes[name]) != tuple(expected[name])
    ]
    found = [(_some(missing), "missing"), (_some(surplus), "unknown"), (_some(other), "of another shape")]
    detail = "; ".join(f"{what}: {names}" for names, what in found if names)
    if detail:
        raise InputError("weights_architecture", path=path, detail=detail)


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + rest


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
