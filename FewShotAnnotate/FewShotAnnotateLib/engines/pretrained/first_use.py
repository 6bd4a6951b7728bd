"""First use: weights without a published checksum are recorded only after they loaded as their engine's model."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import InputError
from .. import engine_class, engine_names
from . import weights
from .base import PretrainedEngine
from .weights import Checkpoint


def require_loadable(checkpoint: Checkpoint) -> None:
    """Raise `InputError` if packages are missing that are needed to see whether a file is the checkpoint."""
    engine = _engine_of(checkpoint)
    missing = engine.missing_packages() if engine else ()
    if missing:
        raise InputError("package_missing", package=missing[0], install=" ".join(missing))


def require_right(checkpoint: Checkpoint, path: Path) -> None:
    """Load a file as the model of its engine does, all of it.

    Raises
    ------
    InputError
        It is damaged, holds no tensors by name, or those of another model.
    """
    suffix = Path(checkpoint.file).suffix
    if suffix != ".safetensors":
        weights.require_sound_archive(path)
    state = weights.read_state(path, state_key=checkpoint.state_key, suffix=suffix)
    engine = _engine_of(checkpoint)
    if engine:
        engine.require_weights(state, path)


def _engine_of(checkpoint: Checkpoint) -> type[PretrainedEngine] | None:
    """The first engine that works with a checkpoint; None if none does."""
    for name in engine_names():
        engine = engine_class(name)
        if not issubclass(engine, PretrainedEngine):
            continue
        if any(checkpoint.name in names for names in engine.checkpoints.values()):
            return engine
    return None
