"""Store of downloaded checkpoints: paths of their files, and verification by checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import paths, reading
from ..core.data_folder import data_folder
from ..core.errors import InputError, Message
from ..core.reading import open_regular_file
from .catalog import Checkpoint

# Maximum size of a checkpoint whose size was never published; the largest known one has 1.5 GB.
MAX_UNKNOWN_BYTES = 8 << 30
_READ_BYTES = 1 << 20
_MAX_RECORD_BYTES = 1 << 12


def folder() -> Path:
    """Folder of all checkpoints; it need not exist."""
    return data_folder() / "weights"


def path_of(checkpoint: Checkpoint) -> Path:
    """The checkpoint's file; it need not exist."""
    return folder() / checkpoint.file


def record_of(checkpoint: Checkpoint) -> Path:
    """File with the SHA-256 recorded at the first download, in the format of `sha256sum`."""
    return folder() / f"{checkpoint.file}.sha256"


def partial_of(checkpoint: Checkpoint) -> Path:
    """File with the received part of an unfinished download."""
    return folder() / f"{checkpoint.file}.partial"


def is_ready(checkpoint: Checkpoint) -> bool:
    """Whether the file exists and its checksum is known; the checksum is verified on loading."""
    return paths.is_file(path_of(checkpoint)) and bool(known_digests(checkpoint))


def known_digests(checkpoint: Checkpoint) -> dict[str, str]:
    """Algorithm -> hexadecimal digest that the file must have: published, or else recorded at the first download."""
    digests = {"sha256": checkpoint.sha256 or _recorded(checkpoint), "md5": checkpoint.md5}
    return {algorithm: digest for algorithm, digest in digests.items() if digest}


def digests_of(path: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """Algorithm -> hexadecimal digest of a file, which is read once."""
    hashes = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms}
    with open_regular_file(path) as file:
        while block := file.read(_READ_BYTES):
            for digest in hashes.values():
                digest.update(block)
    return {algorithm: digest.hexdigest() for algorithm, digest in hashes.items()}


def require_digests(checkpoint: Checkpoint, path: Path) -> None:
    """Raise `InputError` naming `path` if its size or a known digest differs from the checkpoint's."""
    size = paths.require_file(path).st_size
    if checkpoint.size is not None and size != checkpoint.size:
        raise InputError("weights_size", path=path, found=size, expected=checkpoint.size, name=checkpoint.name)
    if size > MAX_UNKNOWN_BYTES:
        raise InputError("weights_damaged", path=path, detail=Message("weights_longer", count=MAX_UNKNOWN_BYTES))
    expected = known_digests(checkpoint)
    for algorithm, digest in digests_of(path, expected).items():
        if digest != expected[algorithm]:
            published = checkpoint.sha256 if algorithm == "sha256" else checkpoint.md5
            raise InputError(
                "weights_differ" if published else "weights_differ_first",
                path=path,
                algorithm=algorithm.upper(),
                name=checkpoint.name,
            )


def verified(checkpoint: Checkpoint) -> Path:
    """The checkpoint's file, after verification of its size and checksum.

    Raises
    ------
    InputError
        It is missing, has no known checksum, or differs.
    """
    with open_verified(checkpoint):
        return path_of(checkpoint)


def read_text(checkpoint: Checkpoint) -> str:
    """Content of a checkpoint that is text, such as a vocabulary; raises errors as `verified`."""
    with open_verified(checkpoint) as opened:
        return opened.read_text(encoding="utf-8")


@contextmanager
def open_verified(checkpoint: Checkpoint) -> Iterator[Path]:
    """Context manager: path of the verified file itself, even if another file gets its name meanwhile."""
    path = path_of(checkpoint)
    if not paths.is_file(path):
        raise InputError("weights_missing", name=checkpoint.name, path=path)
    if not known_digests(checkpoint):
        raise InputError("weights_unrecorded", name=checkpoint.name, path=path)
    with _errors_naming(path), open_regular_file(path) as file:
        # On Windows, an open file cannot be replaced.
        folder = next((folder for folder in (Path("/proc/self/fd"), Path("/dev/fd")) if folder.is_dir()), None)
        opened = folder / str(file.fileno()) if folder else path
        require_digests(checkpoint, opened)
        yield opened


@contextmanager
def _errors_naming(path: Path) -> Iterator[None]:
    """Context manager: errors in the block, also of the operating system, name this path."""
    try:
        yield
    except InputError as error:
        raise error.with_data(path=path) from None
    except OSError as error:
        raise InputError("weights_damaged", path=path, detail=error.strerror or Message("no_reason_given")) from None


def _recorded(checkpoint: Checkpoint) -> str | None:
    try:
        text = reading.read_text(record_of(checkpoint), "ascii", _MAX_RECORD_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
    digest = text.split(" ")[0]
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None
