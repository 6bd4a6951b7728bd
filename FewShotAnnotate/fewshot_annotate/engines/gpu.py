"""The GPU that torch would compute on, determined without loading torch, which takes seconds."""

from __future__ import annotations

import ctypes
import os
import platform
import runpy
from importlib.util import find_spec
from pathlib import Path

from ..core.errors import Message

_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def reason_without_gpu(usable: bool, *, apple: bool, built_for_gpus: bool) -> Message | None:
    """Why device `auto` is the CPU and what to do; None if it is a GPU.

    Parameters
    ----------
    usable : bool
        Whether torch can use an NVIDIA GPU.
    apple : bool
        Whether torch can use an Apple GPU.
    built_for_gpus : bool
        Whether this build of torch could use an NVIDIA GPU if there were one.
    """
    if usable:
        return None
    if apple:
        return Message("gpu_of_apple")
    return Message("gpu_not_found" if built_for_gpus else "gpu_not_in_build")


def why_no_gpu_before_loading() -> Message | None:
    """Why device `auto` will be the CPU and what to do; None if it will be a GPU.

    From the files of torch and the number of GPUs that NVIDIA's driver reports; `device.why_no_gpu` asks torch.

    Raises
    ------
    ImportError
        torch is not installed.
    """
    cuda, hip = built_for()
    if hip:  # the driver of AMD is not queried here
        import torch

        return reason_without_gpu(torch.cuda.is_available(), apple=False, built_for_gpus=True)
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return reason_without_gpu(bool(cuda) and nvidia_gpus(cuda) > 0, apple=apple, built_for_gpus=bool(cuda))


def built_for() -> tuple[str, str]:
    """Versions of CUDA and of HIP that the installed torch was built with, empty if without.

    Raises
    ------
    ImportError
        torch is not installed.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise ImportError("torch is not installed")
    try:
        version = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except OSError as error:
        raise ImportError("torch is not complete") from error
    return version.get("cuda") or "", version.get("hip") or ""


def nvidia_gpus(cuda: str) -> int:
    """Number of NVIDIA GPUs whose driver can run programs of this version of CUDA, such as '13.0'."""
    try:
        driver = ctypes.CDLL(_DRIVER)
        version, count = ctypes.c_int(), ctypes.c_int()
        failed = driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version))
        failed = failed or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return 0
    # A driver runs programs built for any minor version of its CUDA version, and for older ones.
    return 0 if failed or version.value // 1000 < int(cuda.split(".")[0]) else count.value
