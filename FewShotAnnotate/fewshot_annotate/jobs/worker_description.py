"""Script: describe the Python of the worker as JSON on stdout, for bug reports. Takes seconds."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

if __name__ == "__main__":
    # Replaces this file's folder, so that the package of this file is imported even if another one is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from fewshot_annotate import __version__
from fewshot_annotate.core.errors import Message
from fewshot_annotate.engines.registry import engine_class, engine_names

PACKAGES = (
    "numpy",
    "scipy",
    "SimpleITK",
    "torch",
    "torchvision",
    "transformers",
    "segment-anything",
    "safetensors",
    "huggingface_hub",
    "pydicom",
    "highdicom",
    "matplotlib",
    "jinja2",
)
_GIGABYTE = 1e9


@dataclass(frozen=True, kw_only=True)
class WorkerDescription:
    """A Python installation and the computer that it runs on.

    Attributes
    ----------
    version : str
        Version of this program.
    python, system, processor : str
    cores : int
    memory : str
    gpu : str
        GPU as torch reports it.
    packages : dict of str to str
        Name -> version, for those that are installed.
    engines : dict of str to str
        Name -> 'ready', or why it cannot run.
    """

    version: str
    python: str
    system: str
    processor: str
    cores: int
    memory: str
    gpu: str
    packages: dict[str, str]
    engines: dict[str, str]


def describe() -> WorkerDescription:
    """Describe the running Python."""
    return WorkerDescription(
        version=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory=_memory(),
        gpu=_gpu(),
        packages={name: installed for name in PACKAGES if (installed := _version(name))},
        engines={name: _state(engine_class(name).unavailable_reason()) for name in engine_names()},
    )


def _state(reason: Message | None) -> str:
    """State of an engine; packages alone where it needs some, as the command to install them has the user's path."""
    if reason is None:
        return "ready"
    return f"needs {reason.data['install']}" if "install" in reason.data else str(reason)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """Name of the processor, which `platform` does not provide on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return "unknown"
    return f"{size / _GIGABYTE:.0f} GB"


def _gpu() -> str:
    try:
        import torch

        from fewshot_annotate.engines.device import why_no_gpu
    except (ImportError, OSError) as error:
        return f"torch does not load ({type(error).__name__})"
    if not torch.cuda.is_available():
        return f"not used: {why_no_gpu()}"
    names = {torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())}
    return f"{', '.join(sorted(names))}, CUDA {torch.version.cuda}"


if __name__ == "__main__":
    print(json.dumps(asdict(describe())))
