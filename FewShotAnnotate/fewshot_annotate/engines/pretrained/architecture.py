"""Architecture: a model is built by its weights' keys and shapes, or what stands against it said in one line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import InputError
from ...weights.catalog import Checkpoint
from ...weights.loading import load_state

if TYPE_CHECKING:
    from torch import Tensor, nn

Model = TypeVar("Model")
_MOST_CHARACTERS = 200


def require_importable(*packages: str) -> None:
    """Import those of the packages that are installed.

    Raises
    ------
    InputError
        One does not load: most often torchvision, where it was made for another build of torch. The package
        transformers imports it too, if it is there.
    """
    for package in packages:
        if find_spec(package) is None:
            continue
        try:
            import_module(package)
        except (ImportError, RuntimeError, OSError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            detail = lines[0][:_MOST_CHARACTERS].rstrip(". ")
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
        What building imports.
    build : function
        Takes the tensors by name; whatever it raises on tensors of another model is an `InputError`.

    Raises
    ------
    InputError
        A package or the weights do not load, or the weights are those of another model.
    """
    require_importable(*packages)
    state = load_state(checkpoint)
    with built_from(path):
        return build(state)


@contextmanager
def built_from(path: Path) -> Iterator[None]:
    """Errors in the block mean that the weights in `path` are not those of the model that it builds.

    Raises
    ------
    InputError
    """
    try:
        yield
    except (KeyError, ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        from ..device import is_out_of_memory

        if is_out_of_memory(error) or isinstance(error, InputError):
            raise
        what = f"no {error.args[0]}" if isinstance(error, KeyError) and error.args else str(error)
        lines = [line.strip() for line in what.splitlines() if line.strip()]
        # torch names the model first and what does not fit on the lines below.
        detail = " ".join(lines[:2])[:_MOST_CHARACTERS].rstrip(". ")
        raise InputError("weights_architecture", path=path, detail=detail) from None


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Number of the repeated parts whose keys begin so."""
    numbers = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    if not numbers:
        raise KeyError(prefix)
    return 1 + max(map(int, numbers))


def load(model: nn.Module, state: Mapping[str, Tensor], optional: Collection[str] = ()) -> None:
    """Give a model its weights, without a copy of them; they must be all that it has.

    Parameters
    ----------
    model : nn.Module
        Built on torch's device `meta`, or with weights of its own, which are replaced.
    state : mapping of str to Tensor
    optional : collection of str
        Beginnings of keys that may be missing, or be more than the model has.

    Raises
    ------
    KeyError
        A key is missing or unknown.
    """
    found: Any = model.load_state_dict(dict(state), strict=False, assign=True)
    for kind, keys in (("missing", found.missing_keys), ("unknown", found.unexpected_keys)):
        wrong = [key for key in keys if not key.startswith(tuple(optional))]
        if wrong:
            raise ValueError(f"{kind}: {', '.join(wrong[:3])}")
