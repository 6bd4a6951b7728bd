"""Base class of the engines with pretrained weights: requirements, checkpoint, device and precision."""

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
from ..base import Engine, missing_packages_message
from ..option import Option
from ..torch_loading import load_torch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Result = TypeVar("Result")
AUTO = "auto"
# Distribution names of packages that are imported by another name.
DISTRIBUTIONS = {"segment_anything": "segment-anything", "PIL": "pillow", "nnInteractive": "nninteractive"}
# Packages needed to find and load any weights.
_ALWAYS = ("torch", "platformdirs")
_MEGABYTE = 1e6

PRECISION = Option(
    AUTO, "auto: 16 bits where that is safe; full: 32 bits; half: 16 bits", choices=(AUTO, "full", "half")
)


def checkpoint_options(roles: Mapping[str, Sequence[str]]) -> dict[str, Option]:
    """An option for each role that several checkpoints can fill; 'auto' is the first installed one."""
    return {
        option: Option(AUTO, f"checkpoint: auto, {', '.join(names)}", choices=(AUTO, *names))
        for option, names in roles.items()
        if len(names) > 1
    }


class PretrainedEngine(Engine):
    """Base of engines that load published weights.

    Attributes
    ----------
    packages : tuple of str
        Packages that the engine imports, other than torch.
    checkpoints : mapping of str to tuple of str
        Names of the checkpoints that can fill each role, such as 'model', in order of preference. Add
        `checkpoint_options(checkpoints)` and `"precision": PRECISION` to `options`.
    half_devices : tuple of Device
        Devices on which 16 bits are faster than 32 bits without a loss of accuracy.
    """

    devices: ClassVar[tuple[Device, ...]] = (Device.CPU, Device.CUDA, Device.MPS)
    needs_weights = True
    packages: ClassVar[tuple[str, ...]] = ()
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    half_devices: ClassVar[tuple[Device, ...]] = (Device.CUDA,)

    def __init__(self, device: Device = Device.AUTO, options: Mapping[str, Any] | None = None) -> None:
        """Check device and options, and that a checkpoint chosen by name is installed."""
        super().__init__(device, options)
        self._requested_device = device
        for option in checkpoint_options(self.checkpoints):
            if self.settings.get(option, AUTO) != AUTO:
                self.checkpoint(option)

    @classmethod
    def missing_packages(cls) -> tuple[str, ...]:
        """Distribution names of the packages that this engine needs and that are not installed."""
        packages = dict.fromkeys((*_ALWAYS, *cls.packages))
        return tuple(DISTRIBUTIONS.get(name, name) for name in packages if find_spec(name) is None)

    @classmethod
    def missing_checkpoints(cls) -> tuple[Checkpoint, ...]:
        """The preferred checkpoint of each role for which none is installed."""
        roles = [[catalog.checkpoint(name) for name in names] for names in cls.checkpoints.values()]
        return tuple(role[0] for role in roles if not any(store.is_ready(checkpoint) for checkpoint in role))

    @classmethod
    def unavailable_reason(cls) -> Message | None:
        """Missing packages or, if there are none, missing weights; None if the engine can run."""
        packages = cls.missing_packages()
        if packages:
            return missing_packages_message(packages)
        missing = cls.missing_checkpoints()
        if missing:
            weights_needed = ", ".join(checkpoint_summary(checkpoint) for checkpoint in missing)
            return Message(
                "needs_weights", weights=weights_needed, names=" ".join(checkpoint.name for checkpoint in missing)
            )
        return None

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless the tensors fit this engine's model.

        Overridden by engines whose weights have no published checksum.
        """

    def checkpoint(self, role: str) -> Checkpoint:
        """The checkpoint of a role: chosen by the option of this name, or by default the first installed one.

        Raises
        ------
        InputError
            It is not installed.
        """
        choice = self.settings.get(role, AUTO)
        names = self.checkpoints[role] if choice == AUTO else (choice,)
        candidates = [catalog.checkpoint(name) for name in names]
        for candidate in candidates:
            if store.is_ready(candidate):
                return candidate
        raise InputError("weights_missing", name=candidates[0].name, path=store.path_of(candidates[0]))

    def choose_device(self) -> torch.device:
        """Device to compute on; warns with the reason if `auto` finds no GPU.

        Raises
        ------
        InputError
            The machine has no such device.
        """
        load_torch()
        from ..device import torch_device, why_no_gpu

        device = torch_device(self._requested_device, self.name)
        if self._requested_device is Device.AUTO and device.type == "cpu":
            self.context.warn(Message("computes_on_processor", engine=self.name, reason=why_no_gpu()))
        return device

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Context manager: 16 bits if the option `precision` asks for it, or by default on `half_devices`."""
        from ..device import half_precision

        choice = self.settings.get("precision", AUTO)
        return half_precision(
            device, choice == "half" or (choice == AUTO and Device(device.type) in self.half_devices)
        )

    def with_less_memory(
        self, work: Callable[[int], Result], sizes: Sequence[int], device: torch.device
    ) -> tuple[Result, int]:
        """Result of `work(size)` for the largest size that fits in memory, and that size."""
        from ..device import with_less_memory

        return with_less_memory(work, sizes, self.name, device)


def checkpoint_summary(checkpoint: Checkpoint) -> str:
    """Title, size and licence of a checkpoint."""
    size = "size unknown" if checkpoint.size is None else f"{checkpoint.size / _MEGABYTE:.0f} MB"
    return f"{checkpoint.title}, {size}, licence {checkpoint.licence}"
