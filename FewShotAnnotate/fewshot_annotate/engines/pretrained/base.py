"""What engines with pretrained weights share: what they need, which checkpoint, where and how they compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ...core.errors import InputError, Message
from ...core.job import Device
from ...weights import catalog, store
from ...weights.catalog import Checkpoint
from ..base import Engine, Option

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Result = TypeVar("Result")
AUTO = "auto"
# What `pip` calls a package where that is not its name in Python.
DISTRIBUTIONS = {"segment_anything": "segment-anything", "PIL": "pillow"}
# Needed to find and read any weights.
_ALWAYS = ("torch", "platformdirs")
_MEGABYTE = 1e6

PRECISION = Option(
    AUTO, "auto: 16 bits where that is safe; full: 32 bits; half: 16 bits", choices=(AUTO, "full", "half")
)


def checkpoint_options(needs: Mapping[str, Sequence[str]]) -> dict[str, Option]:
    """An option for each need that several checkpoints can meet: 'auto' is the first of them that is here."""
    return {
        option: Option(AUTO, f"checkpoint: auto, {', '.join(names)}", choices=(AUTO, *names))
        for option, names in needs.items()
        if len(names) > 1
    }


class PretrainedEngine(Engine):
    """Base of engines that load weights somebody published.

    Attributes
    ----------
    packages : tuple of str
        What it imports beside torch.
    checkpoints : mapping of str to tuple of str
        What it loads: need -> names of checkpoints, any of which meets it, the preferred one first. Add
        `checkpoint_options(checkpoints)` and `"precision": PRECISION` to `options`.
    half_devices : tuple of Device
        Where 16 bits are as good as 32 and quicker.
    """

    devices = (Device.CPU, Device.CUDA, Device.MPS)
    needs_weights = True
    packages: ClassVar[tuple[str, ...]] = ()
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    half_devices: ClassVar[tuple[Device, ...]] = (Device.CUDA,)

    def __init__(self, device: Device = Device.AUTO, options: Mapping[str, Any] | None = None) -> None:
        """Check device, options, and that a checkpoint asked for by name is here."""
        super().__init__(device, options)
        self._asked_device = device
        for option in checkpoint_options(self.checkpoints):
            if self.settings.get(option, AUTO) != AUTO:
                self.checkpoint(option)

    @classmethod
    def missing_packages(cls) -> tuple[str, ...]:
        """Packages, as `pip` calls them, that this engine needs and that are not installed."""
        wanted = dict.fromkeys((*_ALWAYS, *cls.packages))
        return tuple(DISTRIBUTIONS.get(name, name) for name in wanted if find_spec(name) is None)

    @classmethod
    def missing_checkpoints(cls) -> tuple[Checkpoint, ...]:
        """The preferred checkpoint of each need that none here meets."""
        needs = [[catalog.checkpoint(name) for name in names] for names in cls.checkpoints.values()]
        return tuple(need[0] for need in needs if not any(store.is_ready(one) for one in need))

    @classmethod
    def unavailable_reason(cls) -> Message | None:
        """The first thing that is missing: packages, then weights."""
        packages = cls.missing_packages()
        if packages:
            if len(packages) == 1:
                return Message("needs_package", package=packages[0])
            return Message("needs_packages", packages=", ".join(packages), install=" ".join(packages))
        missing = cls.missing_checkpoints()
        if missing:
            weights_needed = ", ".join(described(one) for one in missing)
            return Message("needs_weights", weights=weights_needed, names=" ".join(one.name for one in missing))
        return None

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless a state is that of this engine's model.

        For engines with weights of which nobody published a checksum.
        """

    def checkpoint(self, need: str) -> Checkpoint:
        """The checkpoint for a need: as the option of this name says, else the first that is here.

        Raises
        ------
        InputError
            It is not here.
        """
        asked = self.settings.get(need, AUTO)
        names = self.checkpoints[need] if asked == AUTO else (asked,)
        candidates = [catalog.checkpoint(name) for name in names]
        for one in candidates:
            if store.is_ready(one):
                return one
        raise InputError("weights_missing", name=candidates[0].name, path=store.path_of(candidates[0]))

    def choose_device(self) -> torch.device:
        """Where to compute. Tells the user once if `auto` finds no GPU, and why.

        Raises
        ------
        InputError
            There is no such device here.
        """
        from ..device import torch_device, why_no_gpu

        device = torch_device(self._asked_device, self.name)
        if self._asked_device is Device.AUTO and device.type == "cpu":
            self.context.warn(Message("computes_on_processor", engine=self.name, reason=why_no_gpu()))
        return device

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Context to compute in: 16 bits where the option `precision` says so or the engine knows that to be safe."""
        from ..device import half_precision

        asked = self.settings.get("precision", AUTO)
        return half_precision(device, asked == "half" or (asked == AUTO and Device(device.type) in self.half_devices))

    def with_less_memory(
        self, work: Callable[[int], Result], sizes: Sequence[int], device: torch.device
    ) -> tuple[Result, int]:
        """As `device.with_less_memory`: `work(size)` for the first size that memory suffices for, and that size."""
        from ..device import with_less_memory

        return with_less_memory(work, sizes, self.name, device)


def described(checkpoint: Checkpoint) -> str:
    """Size and licence of a checkpoint in a few words."""
    size = "size unknown" if checkpoint.size is None else f"{checkpoint.size / _MEGABYTE:.0f} MB"
    return f"{checkpoint.title}, {size}, licence {checkpoint.licence}"
