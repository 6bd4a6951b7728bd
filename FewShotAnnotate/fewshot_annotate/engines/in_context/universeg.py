"""Engine `universeg`: a network that segments from labelled examples, without training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from ...core.errors import InputError
from ...core.job import Device
from ...weights import loading
from ...weights.catalog import Checkpoint
from ..option import Option
from .base import CONTEXT_OPTIONS, InContextEngine, Network

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _has_official() -> bool:
    """Whether the authors' package is installed; a single file of that name does not count."""
    spec = find_spec("universeg")
    return spec is not None and spec.submodule_search_locations is not None


class UniverSeg(InContextEngine):
    """UniverSeg v1 (Butoi et al., ICCV 2023), one label at a time at 128 x 128 pixels.

    The network is that of `universeg_network`, which is exact and faster, or of the authors' package.
    """

    name = "universeg"
    title = "UniverSeg"
    summary = "Segments what your labelled slices, or those of other patients, show. For research only."
    licence = "Apache-2.0; weights OpenRAIL++-M"
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": ("universeg-v1",)}
    support_bytes = 128 * 128 * 64 * 4
    options: ClassVar[Mapping[str, Option]] = {
        **CONTEXT_OPTIONS,
        "implementation": Option(
            "fast",
            "fast: exact and faster implementation; official: the authors' package",
            choices=("fast", "official"),
        ),
    }

    def __init__(self, device: Device = Device.AUTO, options: Mapping[str, Any] | None = None) -> None:
        """Check device and options, and that the authors' package is installed if it is chosen."""
        super().__init__(device, options)
        if self.settings["implementation"] == "official" and not _has_official():
            source = "git+https://github.com/JJGO/UniverSeg.git"
            raise InputError("package_missing", package="universeg", install=source)

    def network(self, device: torch.device) -> Network:
        """The network with its weights."""
        return load_network(self.checkpoint("checkpoint"), device, self.settings["implementation"])

    @classmethod
    def state_shapes(cls) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor of the weights, by name."""
        from .universeg_network import state_shapes

        return state_shapes()


class OfficialNetwork:
    """The authors' network behind the interface `Network`."""

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        from universeg import universeg

        self._device = device
        self._model = universeg()
        self._model.load_state_dict(dict(state))
        self._model.to(device).eval()

    def encode_support(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Tensors `[1, n, 1, h, w]`, the input of the authors' network."""
        return images[None, :, None].to(self._device), labels[None, :, None].to(self._device)

    def logits(self, image: Tensor, supports: tuple[Tensor, Tensor]) -> Tensor:
        """Logits `[h, w]` of one image `[h, w]`."""
        import torch

        with torch.inference_mode():
            result: Tensor = self._model(image[None, None].to(self._device), *supports)
        return result[0, 0]


@lru_cache(maxsize=1)
def load_network(checkpoint: Checkpoint, device: torch.device, implementation: str) -> Network:
    """Load the network of a checkpoint; cached for the life of the process."""
    from .universeg_network import UniverSegNet

    state = loading.load_state(checkpoint, UniverSeg.state_shapes())
    return UniverSegNet(state, device) if implementation == "fast" else OfficialNetwork(state, device)
