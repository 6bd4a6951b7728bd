"""Building of models whose architecture is derived from the keys and shapes of their weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import InputError
from ...core.unexpected_errors import is_out_of_memory
from ...weights.catalog import Checkpoint
from ...weights.loading import load_state

if TYPE_CHECKING:
    from torch import Tensor, nn

Model = TypeVar("Model")
_MAX_DETAIL_CHARACTERS = 200


def require_importable(*packages: str) -> None:
    """Check that those of the packages that are installed can be imported.

    Raises
    ------
    InputError
        A package cannot be imported. Often this is torchvision for another build of torch; transformers imports it
        too if it is installed.
    """
    for package in packages:
        if find_spec(package) is None:
            continue
        try:
            import_module(package)
        except (ImportError, RuntimeError, OSError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            detail = lines[0][:_MAX_DETAIL_CHARACTERS].rstrip(". ")
            raise InputError("package_broken", package=package, detail=detail) from None


def build_model(
    checkpoint: Checkpoint, path: Path, packages: Sequence[str], build: Callable[[dict[str, Tensor]], Model]
) -> Model:
    """Build a model from the weights of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
    path : Path
        The checkpoint's file, for error messages.
    packages : sequence of str
        Packages that `build` imports.
    build : function
        Receives the tensors by name. Exceptions that tensors of another model cause become an `InputError`.

    Raises
    ------
    InputError
        A package or the weights cannot be loaded, or the weights belong to another model.
    """
    require_importable(*packages)
    state = load_state(checkpoint)
    with architecture_errors(path):
        return build(state)


@contextmanager
def architecture_errors(path: Path) -> Iterator[None]:
    """Context manager: errors in the block mean that the weights in `path` belong to another architecture.

    The errors are those of torch and of lookups by tensor names, not of decoding: the file was read already.

    Raises
    ------
    InputError
        The block raised an error that weights of another architecture cause.
    """
    try:
        yield
    except (KeyError, ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        if is_out_of_memory(error) or isinstance(error, InputError):
            raise
        what = f"no {error.args[0]}" if isinstance(error, KeyError) and error.args else str(error)
        lines = [line.strip() for line in what.splitlines() if line.strip()]
        # The first line of torch's message names the model, the following ones the mismatches.
        detail = " ".join(lines[:2])[:_MAX_DETAIL_CHARACTERS].rstrip(". ")
        raise InputError("weights_architecture", path=path, detail=detail) from None


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Number of repeated blocks whose keys begin with `prefix`."""
    numbers = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    if not numbers:
        raise KeyError(prefix)
    return 1 + max(map(int, numbers))


def load(model: nn.Module, state: Mapping[str, Tensor], optional: Collection[str] = ()) -> None:
    """Assign weights to a model without copying them, and check that none is missing or unknown.

    Parameters
    ----------
    model : nn.Module
        Built on torch's device `meta`, or with weights, which are replaced.
    state : mapping of str to Tensor
    optional : collection of str
        Prefixes of keys that may be missing or unknown.

    Raises
    ------
    ValueError
        A key is missing or unknown.
    """
    result: Any = model.load_state_dict(dict(state), strict=False, assign=True)
    for kind, keys in (("missing", result.missing_keys), ("unknown", result.unexpected_keys)):
        mismatched = [key for key in keys if not key.startswith(tuple(optional))]
        if mismatched:
            raise ValueError(f"{kind}: {', '.join(mismatched[:3])}")
