"""Engine `multiverseg`: a larger network that segments from labelled examples, without training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from ...weights import loading
from ...weights.catalog import Checkpoint
from ..option import Option
from .base import CONTEXT_OPTIONS, InContextEngine, Network

if TYPE_CHECKING:
    import torch


class MultiverSeg(InContextEngine):
    """MultiverSeg v1 (Wong et al., ICCV 2025) with labelled slices as context, without clicks."""

    name = "multiverseg"
    title = "MultiverSeg"
    summary = "As UniverSeg, larger, newer and slower. The authors state no licence for the weights."
    licence = "Apache-2.0; weights not stated"
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": ("multiverseg-v1",)}
    support_bytes = 128 * 128 * 2 * 4
    options: ClassVar[Mapping[str, Option]] = {
        **CONTEXT_OPTIONS,
        "supports": Option(16, "maximum number of labelled slices, the most similar ones, per query slice", 1, 64),
    }

    def network(self, device: torch.device) -> Network:
        """The network with its weights."""
        return load_network(self.checkpoint("checkpoint"), device)

    @classmethod
    def state_shapes(cls) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor of the weights, by name."""
        from .multiverseg_network import state_shapes

        return state_shapes()


@lru_cache(maxsize=1)
def load_network(checkpoint: Checkpoint, device: torch.device) -> Network:
    """Load the network of a checkpoint; cached for the life of the process."""
    from .multiverseg_network import MultiverSegNet

    return MultiverSegNet(loading.load_state(checkpoint, MultiverSeg.state_shapes()), device)
