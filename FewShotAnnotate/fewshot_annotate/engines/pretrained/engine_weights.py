"""Relations between engines and the weights they use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import InputError
from ...weights import store
from ...weights.catalog import Checkpoint
from ..registry import engine_class, engine_names
from .base import PretrainedEngine


def engine_using(checkpoint: Checkpoint) -> type[PretrainedEngine] | None:
    """The first engine that uses a checkpoint; None if none does."""
    for name in engine_names():
        engine = engine_class(name)
        if not issubclass(engine, PretrainedEngine):
            continue
        if any(checkpoint.name in names for names in engine.checkpoints.values()):
            return engine
    return None


def weights_in_use(engine_name: str, options: Mapping[str, Any] | None = None) -> str:
    """Names and checksums of an engine's weights, such as 'sam-vit-b sha256:ec2d...'; empty if it has none.

    Called after a run to record its provenance; weights that were deleted in the meantime are left out.
    """
    kind = engine_class(engine_name)
    if not issubclass(kind, PretrainedEngine):
        return ""
    weights = []
    for role in kind.checkpoints:
        try:
            checkpoint = kind(options=options).checkpoint(role)
        except InputError:
            continue
        digests = [f"{method}:{digest}" for method, digest in sorted(store.known_digests(checkpoint).items())]
        weights.append(" ".join([checkpoint.name, *digests]))
    return "; ".join(weights)
