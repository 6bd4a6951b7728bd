"""Selection of the torch device, reduced precision, and retries when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch

from ..core.errors import InputError, Message
from ..core.job import Device
from ..core.unexpected_errors import is_out_of_memory
from .gpu import reason_without_gpu

Result = TypeVar("Result")


def torch_device(requested: Device, engine: str) -> torch.device:
    """Torch device of a setting; `AUTO` is an NVIDIA GPU if torch can use one, else the CPU.

    `AUTO` never chooses an Apple GPU, because some operations are not implemented there.

    Raises
    ------
    InputError
        The machine has no such device, or torch cannot use it.
    """
    available = {
        Device.CUDA: torch.cuda.is_available(),
        Device.MPS: torch.backends.mps.is_available(),
        Device.CPU: True,
    }
    if requested is Device.AUTO:
        requested = Device.CUDA if available[Device.CUDA] else Device.CPU
    if not available[requested]:
        usable_devices = ", ".join(["auto", *(str(other) for other, usable in available.items() if usable)])
        raise InputError("device_unavailable", engine=engine, device=requested, known=usable_devices)
    return torch.device(str(requested))


def why_no_gpu() -> Message | None:
    """Why `AUTO` chooses the CPU and what to do; None if it chooses a GPU."""
    return reason_without_gpu(
        torch.cuda.is_available(),
        apple=torch.backends.mps.is_available(),
        built_for_gpus=torch.version.cuda is not None or torch.version.hip is not None,
    )


def half_precision(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """Context of automatic mixed precision (16 bits); does nothing unless `enabled`."""
    if not enabled:
        return nullcontext()
    dtype = torch.float16 if device.type == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype)


def with_less_memory(
    work: Callable[[int], Result], sizes: Sequence[int], engine: str, device: torch.device
) -> tuple[Result, int]:
    """Call `work(size)` with smaller and smaller sizes until memory suffices.

    Parameters
    ----------
    work : function
        Called with a size, such as that of a batch.
    sizes : sequence of int
        Sizes to try, in descending order.
    engine : str
        Name of the engine, for the error message.
    device : torch.device

    Returns
    -------
    result
    size : int
        The size that succeeded, from which the next call can start.

    Raises
    ------
    InputError
        Memory does not suffice for the smallest size.
    """
    for size in sizes:
        try:
            return work(size), size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
    raise InputError("memory_short", engine=engine, device=device.type)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor has native bfloat16 instructions; GPUs have."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())
