"""Fill offers missing packages and weights: packages by Slicer's own installation, weights from a real server.

PyTorch's extension and Slicer's packaging functions are stand-ins that record the requests.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from subprocess import CalledProcessError
from types import ModuleType
from typing import Any

import pytest
import slicer
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.engines.pretrained import base
from fewshot_annotate.engines.registry import engine_class
from fewshot_annotate.weights import catalog
from huggingface_hub import constants
from support import scene_cases, slicer_standin
from support.weights_server import Fault, Server, serving, toy_row, use_table

slicer_standin.install()

import qt  # noqa: E402
from fewshot_annotate.host.engines import installation  # noqa: E402
from fewshot_annotate.host.messages import error_text  # noqa: E402

UNIVERSEG = "universeg"


class Installers:
    """Stand-ins for the ways in which Slicer installs packages; they record the requests."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.answer: Any = True
        self._patch = patch

    def extension(self) -> None:
        """Add a stand-in for the extension PyTorch."""
        module = _module("PyTorchUtils")
        requests = self.requests

        class Logic:
            def installTorch(inner, askConfirmation: bool = False) -> Any:
                requests.append(("torch", askConfirmation))
                return torch if self.answer else None

        module.PyTorchUtilsLogic = Logic  # type: ignore[attr-defined]
        self._patch.setitem(sys.modules, "PyTorchUtils", module)

    def packaging(self) -> None:
        """Add a stand-in for the packaging functions of Slicer 5.12."""
        module = _module("slicer.packaging")

        def pip_ensure(requirements: list[str], requester: str) -> None:
            self.requests.append(("ensure", (tuple(requirements), requester)))
            if isinstance(self.answer, Exception):
                raise self.answer

        module.pip_ensure = pip_ensure  # type: ignore[attr-defined]
        self._patch.setitem(sys.modules, "slicer.packaging", module)
        self._patch.setattr(slicer, "packaging", module, raising=False)

    def pip_install(self) -> None:
        """Add a stand-in for `slicer.util.pip_install`, all that Slicer 5.10 has."""
        self._patch.setattr(slicer.util, "pip_install", lambda text: self.requests.append(("install", text)))


def _module(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    return module


@pytest.fixture
def installers(monkeypatch: pytest.MonkeyPatch) -> Installers:
    return Installers(monkeypatch)


@pytest.fixture
def dialogs() -> Iterator[Any]:
    """The dialogs shown during the test, and the user's answers to them."""
    shown = slicer_standin.dialogs()
    shown.clear()
    yield shown
    shown.clear()


def hide_packages(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these packages seem not installed."""
    find_spec = base.find_spec
    monkeypatch.setattr(base, "find_spec", lambda name: None if name in names else find_spec(name))


def test_torch_is_installed_only_by_its_extension(installers: Installers) -> None:
    installers.extension()
    assert installation.install_packages(["torch"])
    assert installers.requests == [("torch", True)]


def test_torch_without_its_extension_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InputError, match="pytorch_extension_missing"):
        installation.install_packages(["torch", "transformers"])


def test_other_packages_are_installed_by_slicers_packaging_functions(installers: Installers) -> None:
    installers.packaging()
    assert installation.install_packages(["transformers", "platformdirs"])
    ((kind, (requirements, requester)),) = installers.requests
    assert (kind, requester) == ("ensure", "Few-Shot Annotate")
    assert requirements == ("transformers==5.23.0", "platformdirs>=4")


def test_an_older_slicer_installs_after_a_question(installers: Installers, dialogs: Any) -> None:
    installers.pip_install()
    assert installation.install_packages(["platformdirs"])
    assert installers.requests == [("install", "platformdirs>=4")]
    dialogs.answer_next("Cancel")
    assert not installation.install_packages(["platformdirs"])
    assert len(installers.requests) == 1
    assert "platformdirs" in dialogs.texts[-1]


def test_an_older_slicer_shows_the_download_size_where_it_is_known(installers: Installers, dialogs: Any) -> None:
    installers.pip_install()
    assert installation.install_packages(["transformers", "safetensors"])
    assert "up to 29 MB" in dialogs.texts[-1]
    assert installation.install_packages(["safetensors", "unknown"])
    assert "not known" in dialogs.texts[-1]


def test_after_a_refusal_no_further_question_is_asked(installers: Installers) -> None:
    installers.extension()
    installers.packaging()
    installers.answer = False
    assert not installation.install_packages(["torch", "transformers"])
    assert installers.requests == [("torch", True)]
    installers.answer = RuntimeError("declined")
    assert not installation.install_packages(["transformers"])


def test_a_failed_installation_is_reported_in_one_line(installers: Installers) -> None:
    installers.packaging()
    installers.answer = CalledProcessError(1, "pip")
    with pytest.raises(InputError, match="install_failed") as refused:
        installation.install_packages(["transformers"])
    assert "\n" not in error_text(refused.value)


def test_the_requirements_are_those_of_the_tests() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in installation.REQUIREMENTS.values():
        assert f'"{requirement}"' in text, requirement


def test_an_engine_without_missing_packages_opens_no_dialog(dialogs: Any) -> None:
    assert installation.ensure_engine("propagate")
    assert dialogs.shown == []


def test_an_engine_that_lacks_a_package_offers_it_first(
    installers: Installers, monkeypatch: pytest.MonkeyPatch, dialogs: Any
) -> None:
    installers.packaging()
    installers.answer = RuntimeError("declined")
    hide_packages(monkeypatch, "platformdirs")
    assert not installation.ensure_engine(UNIVERSEG)
    ((_, (requirements, _)),) = installers.requests
    assert requirements == ("platformdirs>=4",)
    assert dialogs.shown == []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a small file that the table of weights lists as UniverSeg's weights."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 12)
    content = bytes(range(256)) * 200
    with serving(content) as server:
        row = toy_row(
            name="toy-weights",
            url=f"{server.address}/file.pt",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            permissive=False,
            licence="Research-1.0",
            restrictions="For research only.",
        )
        use_table(tmp_path, monkeypatch, row)
        monkeypatch.setattr(engine_class(UNIVERSEG), "checkpoints", {"checkpoint": ("toy-weights",)})
        yield server
        scene_cases.wait_for_none(scene_cases.threads)  # a cancelled download ends a little later


def test_weights_are_downloaded_after_the_licence_was_shown_and_agreed_to(server: Server, dialogs: Any) -> None:
    assert installation.ensure_engine(UNIVERSEG)
    (text,) = dialogs.texts
    for part in ("Research-1.0", "For research only.", server.address, "Toy"):
        assert part in text
    assert engine_class(UNIVERSEG).unavailable_reason() is None
    assert installation.ensure_engine(UNIVERSEG)
    assert len(dialogs.shown) == len(server.requests) == 1
    slicer_standin.process_events(1)
    assert slicer.util.mainWindow().findChildren(qt.QProgressDialog) == ()


def test_nothing_is_downloaded_without_consent_to_the_licence(server: Server, dialogs: Any) -> None:
    dialogs.answer_next("Cancel")
    assert not installation.ensure_engine(UNIVERSEG)
    assert server.requests == []


def test_a_download_that_fails_is_reported(server: Server, dialogs: Any) -> None:
    server.faults = [Fault.MISSING]
    with pytest.raises(InputError, match="404"):
        installation.ensure_engine(UNIVERSEG)


def test_a_cancelled_download_returns_at_once(server: Server, dialogs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    server.good_bytes = 20_000
    server.faults = [Fault.STALL, Fault.STALL]
    monkeypatch.setattr(qt.QProgressDialog, "wasCanceled", True)
    start = time.monotonic()
    assert not installation.download_checkpoint(catalog.checkpoint("toy-weights"))
    assert time.monotonic() - start < 1
    assert engine_class(UNIVERSEG).unavailable_reason() is not None
