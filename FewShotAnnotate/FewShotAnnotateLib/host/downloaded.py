"""Downloaded weights: what lies in the data folder, how large it is, and how to be rid of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.errors import InputError
from ..core.paths import is_file, size
from ..engines.pretrained import download, weights
from ..engines.pretrained.weights import Checkpoint


@dataclass(frozen=True)
class Downloaded:
    """Weights that are here, wholly or in part, and their size in bytes."""

    checkpoint: Checkpoint
    size: int


def downloaded() -> tuple[Downloaded, ...]:
    """All that is here. Looks at file names and sizes only."""
    try:
        found = [Downloaded(one, _size(one)) for one in weights.checkpoints()]
    except InputError:  # nothing can be here without the package that says where
        return ()
    return tuple(one for one in found if one.size)


def delete(found: Iterable[Downloaded]) -> None:
    """Delete files of weights.

    Raises
    ------
    InputError
        One is in use, or may not be deleted.
    """
    for one in found:
        try:
            download.remove(one.checkpoint)
        except OSError as error:
            path = weights.path_of(one.checkpoint)
            raise InputError("output_unwritable", path=path, detail=error.strerror or error) from None


def size_text(size: int) -> str:
    """A number of bytes as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _size(checkpoint: Checkpoint) -> int:
    paths = weights.path_of(checkpoint), download.partial_of(checkpoint)
    return sum(size(path) for path in paths if is_file(path))
