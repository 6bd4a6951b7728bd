"""Loading of checkpoints: only tensors, of the expected architecture, from a verified file."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from ..core.errors import InputError, Message
from ..core.reading import DamagedContentError, decoding_archive, read_json_as
from .catalog import Checkpoint
from .store import open_verified

if TYPE_CHECKING:
    from torch import Tensor

# The pickle of a state dict holds names and shapes only; the largest known one takes under 1 MB.
_MAX_PICKLE_BYTES = 64 << 20
# Maximum number of tensor names in an error.
_MAX_NAMES = 3


def load_state(checkpoint: Checkpoint, expected: Mapping[str, Sequence[int]] | None = None) -> dict[str, Tensor]:
    """The checkpoint's tensors by name, on the CPU, with the stored data types.

    Parameters
    ----------
    checkpoint : Checkpoint
    expected : mapping of str to shape, optional
        Required names and their shapes; other names are not allowed.

    Raises
    ------
    InputError
        The file is missing, differs from its checksum, is damaged, contains anything but tensors, would take more
        memory than its size, or is of another architecture.
    """
    with open_verified(checkpoint) as opened:
        return read_state(opened, expected, checkpoint.state_key, Path(checkpoint.file).suffix)


def read_state(
    path: Path,
    expected: Mapping[str, Sequence[int]] | None = None,
    state_key: str = "",
    suffix: str = "",
) -> dict[str, Tensor]:
    """As `load_state`, from any file, whose origin is not verified; `suffix` is that of the path by default."""
    if (suffix or path.suffix) == ".safetensors":
        return _read_safetensors(path, expected)
    return _read_torch(path, expected, state_key)


def read_json_object(checkpoint: Checkpoint) -> dict[str, Any]:
    """Content of a checkpoint that is a JSON description of a network; raises errors as `load_state`."""
    with open_verified(checkpoint) as opened:
        return _json_object(opened)


class Model(Protocol):
    """Protocol of classes that know the architecture of a checkpoint, such as engines."""

    def missing_packages(self) -> Sequence[str]:
        """Names, as given to `pip install`, of packages that loading needs and that are not installed."""

    def require_weights(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless the tensors are those of the model."""


def require_loads(checkpoint: Checkpoint, path: Path, model: Model | None) -> None:
    """Check that a file loads completely, for a checkpoint without a published checksum.

    Parameters
    ----------
    checkpoint : Checkpoint
    path : Path
        The file to check.
    model : Model or None
        Checks the architecture; None to accept any.

    Raises
    ------
    InputError
        It is damaged, contains anything but named tensors, or is of another model.
    """
    suffix = Path(checkpoint.file).suffix
    if suffix == ".json":
        _json_object(path)
        return
    if suffix != ".safetensors":
        require_sound_archive(path)
    state = read_state(path, state_key=checkpoint.state_key, suffix=suffix)
    if model is not None:
        model.require_weights(state, path)


def require_sound_archive(path: Path) -> None:
    """Raise `InputError` unless a torch file is complete and all entries match the checksums in the file.

    torch does not verify these, so it would load a file that contains a part of another one.
    """
    _require_plain_zip(path)
    try:
        with decoding_archive(), ZipFile(path) as archive:
            sound = archive.testzip() is None
    except (OSError, DamagedContentError):
        sound = False
    if not sound:
        raise InputError("weights_damaged", path=path, detail=Message("archive_wrong_checksum"))


def require_shapes(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Raise `InputError` naming `path` unless a state has exactly these names and shapes."""
    _require_architecture(path, {name: tuple(tensor.shape) for name, tensor in state.items()}, expected)


def _read_safetensors(path: Path, expected: Mapping[str, Sequence[int]] | None) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            _require_architecture(path, {name: file.get_slice(name).get_shape() for name in names}, expected)
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise InputError("weights_damaged", path=path, detail=_first_line(error)) from None


def _read_torch(path: Path, expected: Mapping[str, Sequence[int]] | None, state_key: str) -> dict[str, Tensor]:
    import torch

    _require_plain_zip(path)
    # Names and shapes are read first, so that files that are refused take no memory.
    shapes = _tensors(path, _unpickle(path, "meta"), state_key)
    size = path.stat().st_size
    if any(shape.numel() * shape.element_size() > size for shape in shapes.values()):
        raise InputError("weights_bomb", path=path)
    _require_architecture(path, {name: tuple(tensor.shape) for name, tensor in shapes.items()}, expected)
    state = _tensors(path, _unpickle(path, "cpu"), state_key)
    # The tensors are memory-mapped, so they take no memory yet.
    if _bytes(state.values()) > size:
        raise InputError("weights_bomb", path=path)
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    return state


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json_as(path, dict)
    except DamagedContentError as error:
        raise InputError("weights_damaged", path=path, detail=str(error)) from None
    return content


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Size of tensors in memory in bytes; a tensor with several names counts once."""
    sizes = {
        (tensor.data_ptr(), tuple(tensor.shape), tensor.stride()): tensor.numel() * tensor.element_size()
        for tensor in tensors
    }
    return sum(sizes.values())


def _unpickle(path: Path, location: str) -> object:
    """Content of a torch file; only tensors, plain containers, numbers and `Namespace` (settings) are allowed."""
    from pickle import UnpicklingError

    import torch

    try:
        with decoding_archive(), torch.serialization.safe_globals([Namespace, *_numpy_numbers()]):
            return torch.load(path, map_location=location, weights_only=True, mmap=location == "cpu")
    except UnpicklingError as error:
        if "WeightsUnpickler" in str(error) or "GLOBAL" in str(error):
            raise InputError("weights_code", path=path) from None
        raise InputError("weights_damaged", path=path, detail=_first_line(error)) from None
    except DamagedContentError as error:
        raise InputError("weights_damaged", path=path, detail=str(error)) from None


def _numpy_numbers() -> list[Any]:
    """Types of NumPy numbers in torch files, such as losses recorded in training, of any version of NumPy."""
    make = np.float64(0).__reduce__()[0]
    kinds = (np.float32, np.float64, np.int32, np.int64)
    return [
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
        *((make, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
    ]


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
    """Raise `InputError` unless a file is a zip archive as torch writes it: uncompressed, with paths inside of it."""
    try:
        with decoding_archive(), ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, DamagedContentError):
        raise InputError("weights_damaged", path=path, detail=Message("archive_not_of_torch")) from None
    if not entries:
        raise InputError("weights_no_state", path=path)
    if any(".." in entry.filename.split("/") or entry.filename.startswith("/") for entry in entries):
        raise InputError("weights_escape", path=path)
    packed = any(entry.compress_type != ZIP_STORED for entry in entries)
    pickles = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if packed or pickles > _MAX_PICKLE_BYTES or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError("weights_bomb", path=path)


def _require_architecture(
    path: Path, shapes: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]] | None
) -> None:
    if expected is None:
        return
    missing = [name for name in expected if name not in shapes]
    surplus = [name for name in shapes if name not in expected]
    other = [
        f"{name} is {_shape(shapes[name])} and not {_shape(expected[name])}"
        for name in expected
        if name in shapes and tuple(shapes[name]) != tuple(expected[name])
    ]
    mismatches = [(_listed(missing), "missing"), (_listed(surplus), "unknown"), (_listed(other), "of another shape")]
    detail = "; ".join(f"{problem}: {names}" for names, problem in mismatches if names)
    if detail:
        raise InputError("weights_architecture", path=path, detail=detail)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
