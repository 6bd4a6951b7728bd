"""Engine `multiverseg`: a larger network that segments what it is shown examples of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..base import Option
from . import weights
from .in_context import CONTEXT_OPTIONS, InContextEngine, Network

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class MultiverSeg(InContextEngine):
    """MultiverSeg v1 (Wong et al., ICCV 2025) with labelled slices as its context and no clicks."""

    name = "multiverseg"
    title = "MultiverSeg"
    summary = "As UniverSeg, larger, newer and slower. The authors state no licence for the weights."
    licence = "Apache-2.0; weights not stated"
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": ("multiverseg-v1",)}
    support_bytes = 128 * 128 * 2 * 4
    options: ClassVar[Mapping[str, Option]] = {
        **CONTEXT_OPTIONS,
        "supports": Option(16, "labelled slices shown with each slice at most: the most similar ones", 1, 64),
    }

    def network(self, device: torch.device) -> Network:
        """The network with its weights."""
        return _network(self.checkpoint("checkpoint"), device)

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        from .networks.multiverseg_net import state_shapes

        weights.require_shapes(path, state, state_shapes())


@lru_cache(maxsize=1)
def _network(checkpoint: weights.Checkpoint, device: torch.device) -> Network:
    from .networks.multiverseg_net import MultiverSegNet, state_shapes

    return MultiverSegNet(weights.load_state(checkpoint, state_shapes()), device)
