"""Device: where torch computes, why not on the GPU, and what to do when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch

from ..core.errors import InputError
from ..core.job import Device

Result = TypeVar("Result")


def torch_device(asked: Device, engine: str) -> torch.device:
    """The device to compute on; `auto` is an NVIDIA GPU if torch can use one, else the processor.

    An Apple GPU is used when asked for only: some operations do not exist there.

    Raises
    ------
    InputError
        This machine has no such device, or torch cannot use it.
    """
    present = {
        Device.CUDA: torch.cuda.is_available(),
        Device.MPS: torch.backends.mps.is_available(),
        Device.CPU: True,
    }
    if asked is Device.AUTO:
        asked = Device.CUDA if present[Device.CUDA] else Device.CPU
    if not present[asked]:
        known = ", ".join(["auto", *(str(other) for other, there in present.items() if there)])
        raise InputError("device_unavailable", engine=engine, device=asked, known=known)
    return torch.device(str(asked))


def why_no_gpu() -> str:
    """Why `auto` computes on the processor, in one line with what to do; empty if it computes on a GPU."""
    if torch.cuda.is_available():
        return ""
    if torch.backends.mps.is_available():
        return "an Apple GPU is used only when asked for; choose device mps to try it"
    if torch.version.cuda is None and torch.version.hip is None:
        return "the installed torch is built for processors only; install a build with CUDA if there is an NVIDIA GPU"
    return "torch finds no NVIDIA GPU it can use; check the driver with nvidia-smi if there is one"


def half_precision(device: torch.device, wanted: bool) -> AbstractContextManager[object]:
    """Context in which torch computes in 16 bits where that is safe; does nothing unless `wanted`."""
    if not wanted:
        return nullcontext()
    small = torch.float16 if device.type == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16
    return torch.autocast(device.type, dtype=small)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whichever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def with_less_memory(
    work: Callable[[int], Result], sizes: Sequence[int], engine: str, device: torch.device
) -> tuple[Result, int]:
    """`work(size)` for the first of the sizes, from large to small, that memory suffices for.

    Returns
    -------
    result
    size : int
        The size it was done with: begin there next time.

    Raises
    ------
    InputError
        Even the smallest needs more memory than there is.
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
