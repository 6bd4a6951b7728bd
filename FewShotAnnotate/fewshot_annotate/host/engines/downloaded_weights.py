"""Downloaded weights in the data folder: list, size and deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...core.disk import unwritable_error
from ...core.errors import InputError
from ...core.paths import is_file, size
from ...weights import catalog, download, store
from ...weights.catalog import Checkpoint


@dataclass(frozen=True)
class DownloadedWeights:
    """Weights that are downloaded, completely or in part, and their size in bytes."""

    checkpoint: Checkpoint
    size: int


def list_downloaded_weights() -> tuple[DownloadedWeights, ...]:
    """All downloaded weights, from file names and sizes alone."""
    try:
        downloaded = [DownloadedWeights(checkpoint, _size(checkpoint)) for checkpoint in catalog.checkpoints()]
    except InputError:  # without the package that determines the folder, nothing was downloaded
        return ()
    return tuple(weights for weights in downloaded if weights.size)


def delete(downloaded: Iterable[DownloadedWeights]) -> None:
    """Delete files of weights.

    Raises
    ------
    InputError
        One is in use, or may not be deleted.
    """
    for weights in downloaded:
        try:
            download.remove(weights.checkpoint)
        except OSError as error:
            path = store.path_of(weights.checkpoint)
            raise unwritable_error(path, error) from None


def format_size(size: int) -> str:
    """A number of bytes as text, in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _size(checkpoint: Checkpoint) -> int:
    paths = store.path_of(checkpoint), store.partial_of(checkpoint)
    return sum(size(path) for path in paths if is_file(path))
