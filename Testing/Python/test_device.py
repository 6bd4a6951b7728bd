"""Device and precision of torch, the reason for not using a GPU, and running out of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.job import Device
from fewshot_annotate.core.unexpected_errors import is_out_of_memory
from fewshot_annotate.engines import device, gpu
from fewshot_annotate.engines.base import RunContext
from fewshot_annotate.engines.in_context import universeg
from fewshot_annotate.engines.pretrained.base import PRECISION, PretrainedEngine
from support.processes import PACKAGE_PARENT

CPU = torch.device("cpu")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The GPUs that torch finds, by name."""
    found: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in found)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in found)
    return found


@pytest.mark.parametrize(
    ("available", "requested", "chosen"),
    [
        ([], Device.AUTO, "cpu"),
        (["cuda"], Device.AUTO, "cuda"),
        (["mps"], Device.AUTO, "cpu"),
        (["mps"], Device.MPS, "mps"),
        (["cuda"], Device.CPU, "cpu"),
    ],
)
def test_an_nvidia_gpu_is_used_by_default_and_others_on_request(
    gpus: list[str], available: list[str], requested: Device, chosen: str
) -> None:
    gpus += available
    assert device.torch_device(requested, "toy").type == chosen


@pytest.mark.parametrize("requested", [Device.CUDA, Device.MPS])
def test_a_missing_gpu_is_refused_and_the_available_ones_are_named(gpus: list[str], requested: Device) -> None:
    with pytest.raises(InputError, match="choose one of: auto, cpu"):
        device.torch_device(requested, "toy")


def test_the_reason_why_no_gpu_is_used_includes_advice(gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built for processors only" in str(device.why_no_gpu())
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "nvidia-smi" in str(device.why_no_gpu())
    gpus.append("mps")
    assert "device mps" in str(device.why_no_gpu())
    gpus.append("cuda")
    assert device.why_no_gpu() is None


def test_the_reason_is_the_same_without_loading_torch() -> None:
    assert str(gpu.why_no_gpu_before_loading()) == str(device.why_no_gpu())


@pytest.mark.parametrize(
    ("cuda", "gpus_found", "expected"),
    [("None", 1, "built for processors only"), ("'13.0'", 0, "nvidia-smi"), ("'13.0'", 2, "")],
)
def test_what_torch_was_built_for_is_read_from_its_files(
    cuda: str, gpus_found: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(f"cuda = {cuda}\nhip = None\n")
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(gpu, "find_spec", lambda name: spec)
    monkeypatch.setattr(gpu, "nvidia_gpus", lambda cuda: gpus_found)
    monkeypatch.setattr(gpu.platform, "system", lambda: "Linux")
    reason = gpu.why_no_gpu_before_loading()
    assert expected in str(reason or "")
    assert (reason is None) == (not expected)


def test_without_torch_gpus_are_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with pytest.raises(ImportError):
        gpu.why_no_gpu_before_loading()


class Toy(PretrainedEngine):
    name = "toy"
    options = {"precision": PRECISION}  # noqa: RUF012
    half_devices = (Device.CPU,)

    def prepare(self, volume: object, support: object, context: object = None) -> None:  # type: ignore[override]
        return

    def predict(self, slice_indices: object) -> object:  # type: ignore[override]
        return iter(())


@pytest.mark.parametrize(("requested", "is_half"), [("auto", True), ("half", True), ("full", False)])
def test_half_precision_is_used_where_it_is_safe_or_requested(requested: str, is_half: bool) -> None:
    with Toy(options={"precision": requested}).precision(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if is_half else torch.float32)


def test_universeg_always_uses_single_precision() -> None:
    assert universeg.UniverSeg.half_devices == ()


def test_the_reason_for_computing_on_the_cpu_is_reported_once(gpus: list[str]) -> None:
    engine, reported = Toy(), []
    engine.context = RunContext(warn=reported.append)
    assert engine.choose_device() == CPU
    (line,) = reported
    assert str(line).startswith("Engine toy computes on the processor: ")
    engine = Toy(Device.CPU)
    engine.context = RunContext(warn=reported.append)
    engine.choose_device()
    assert len(reported) == 1


def test_smaller_sizes_are_tried_until_memory_suffices() -> None:
    tried = []

    def work(size: int) -> str:
        tried.append(size)
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert device.with_less_memory(work, [8, 4, 2, 1], "toy", CPU) == ("done", 2)
    assert tried == [8, 4, 2]
    with pytest.raises(InputError, match="close other programs"):
        device.with_less_memory(work, [8, 4], "toy", CPU)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (MemoryError(), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution primitive"), False),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_other_errors_are_not_mistaken_for_lack_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory through /proc")
def test_a_convolution_that_runs_out_of_memory_is_recognised() -> None:
    code = """
import resource, torch
from fewshot_annotate.core.unexpected_errors import is_out_of_memory
network, image = torch.nn.Conv2d(8, 32, 3), torch.rand(4, 8, 64, 64)
network(image).sum().backward()
bytes_now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (bytes_now, bytes_now))
try:
    for side in range(8, 64):
        network(image[:, :, :side, :side]).sum().backward()
except RuntimeError as error:
    print(is_out_of_memory(error))
"""
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE_PARENT)},
    )
    assert process.stdout == "True\n", process.stderr
