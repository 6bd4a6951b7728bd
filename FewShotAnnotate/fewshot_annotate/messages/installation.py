"""The command that installs packages where this program runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

_OWN_EXTRA = re.compile(r"fewshot-annotate\[(?P<extra>\w+)\]")
_TORCH = {"torch", "platformdirs"}
# Extras that hold the packages, the smallest first.
_EXTRAS = {
    "batch": {"pillow", "jinja2"},
    "report": {"pillow", "matplotlib", "jinja2"},
    "adapt": _TORCH,
    "specialist": _TORCH | {"safetensors"},
    "pretrained": _TORCH
    | {"torchvision", "segment-anything", "transformers", "safetensors", "huggingface_hub", "pillow"},
}
# Builds that work together, those of torch without gigabytes of GPU libraries: as in the extras.
PINNED = {"torch": "2.13.0", "torchvision": "0.28.0", "segment-anything": "1.0", "transformers": "5.23.0"}
_EDITABLE = "--editable"  # of pip
_NEEDS_NO_QUOTES = re.compile(r"[\w./\\:+-]+")


def install_command(requirements: str) -> str:
    """Command that installs packages for the running Python.

    Packages of the program's own extras are installed by these, which pin builds that work together: torch by itself
    would bring gigabytes of GPU libraries.

    Parameters
    ----------
    requirements : str
        As given to `pip install`.
    """
    pip = f"{_quoted(_python())} -m pip install"
    packages = requirements.split()
    held = {package for package in packages if any(package in extra for extra in _EXTRAS.values())}
    named = _OWN_EXTRA.search(requirements)
    if not named and not held:
        return f"{pip} {requirements}"
    if not named and not _checkout() and not _is_distribution():  # as in an extension of Slicer
        return f"{pip} {_pinned(packages)}"
    fitting = [extra for extra, content in _EXTRAS.items() if held <= content]
    extra = named["extra"] if named else next(iter(fitting), "all")
    others = [] if named else [package for package in packages if package not in held]
    return " ".join([pip, _this_program(extra), *others])


def _python() -> str:
    """The running interpreter; inside an application such as Slicer the program that stands for it."""
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    from shutil import which  # here, so that commands start sooner

    return which("PythonSlicer") or sys.executable


def _this_program(extra: str) -> str:
    root = _checkout()
    return f'{_EDITABLE} "{root}[{extra}]"' if root else f'"fewshot-annotate[{extra}]"'


def _checkout() -> Path | None:
    """Root of the repository from which the program runs, if it does."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() else None


def _is_distribution() -> bool:
    """Whether pip installed the program, and therefore knows its extras."""
    from importlib.metadata import PackageNotFoundError, distribution  # here, so that commands start sooner

    try:
        distribution("fewshot-annotate")
    except PackageNotFoundError:
        return False
    return True


def _pinned(packages: Sequence[str]) -> str:
    return " ".join(f"{package}=={PINNED[package]}" if package in PINNED else package for package in packages)


def _quoted(path: str) -> str:
    """A path as a word of a command line; without quotes if it needs none, as PowerShell runs no quoted program."""
    return path if _NEEDS_NO_QUOTES.fullmatch(path) else f'"{path}"'
