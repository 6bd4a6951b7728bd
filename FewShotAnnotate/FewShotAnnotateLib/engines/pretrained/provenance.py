"""Which weights an engine works with, for those who want to know afterwards what made a segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import InputError
from .. import engine_class
from . import weights
from .base import PretrainedEngine


def weights_in_use(engine_name: str, options: Mapping[str, Any] | None = None) -> str:
    """Names and checksums of the weights, such as 'sam-vit-b sha256:ec2d...'; empty if the engine has none.

    Asked after a run, when weights may be gone by now: those are not named.
    """
    kind = engine_class(engine_name)
    if not issubclass(kind, PretrainedEngine):
        return ""
    found = []
    for need in kind.checkpoints:
        try:
            checkpoint = kind(options=options).checkpoint(need)
        except InputError:
            continue
        digests = [f"{method}:{digest}" for method, digest in sorted(weights.known_digests(checkpoint).items())]
        found.append(" ".join([checkpoint.name, *digests]))
    return "; ".join(found)
