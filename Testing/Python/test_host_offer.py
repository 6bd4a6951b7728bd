"""Missing packages and weights are offered by Fill: Slicer's own installation, weights from a real server.

PyTorch's extension and Slicer's packaging functions are stand-ins here that record what they are asked for.
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
from support import slicer_standin
from support.weights_server import Fault, Server, serving, toy_row, use_table

slicer_standin.install()

import qt  # noqa: E402
from fewshot_annotate.host.fill import engine_setup as room  # noqa: E402
from fewshot_annotate.host.messages import error_text  # noqa: E402

UNIVERSEG = "universeg"


class Installed:
    """Stand-ins for what Slicer installs with; remembers what it was asked for."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer: Any = True
        self._patch = patch

    def extension(self) -> None:
        """The extension PyTorch is there."""
        module = _module("PyTorchUtils")
        asked = self.asked

        class Logic:
            def installTorch(inner, askConfirmation: bool = False) -> Any:
                asked.append(("torch", askConfirmation))
                return torch if self.answer else None

        module.PyTorchUtilsLogic = Logic  # type: ignore[attr-defined]
        self._patch.setitem(sys.modules, "PyTorchUtils", module)

    def packaging(self) -> None:
        """Slicer 5.12's packaging functions are there."""
        module = _module("slicer.packaging")

        def pip_ensure(requirements: list[str], requester: str) -> None:
            self.asked.append(("ensure", (tuple(requirements), requester)))
            if isinstance(self.answer, Exception):
                raise self.answer

        module.pip_ensure = pip_ensure  # type: ignore[attr-defined]
        self._patch.setitem(sys.modules, "slicer.packaging", module)
        self._patch.setattr(slicer, "packaging", module, raising=False)

    def older(self) -> None:
        """Slicer 5.10 has only `slicer.util.pip_install`."""
        self._patch.setattr(slicer.util, "pip_install", lambda text: self.asked.append(("install", text)))


def _module(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    return module


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(monkeypatch)


@pytest.fixture
def dialogs() -> Iterator[Any]:
    """The user in front of dialogs."""
    shown = slicer_standin.dialogs()
    shown.clear()
    yield shown
    shown.clear()


def lacking(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These packages are not installed."""
    found = base.find_spec
    monkeypatch.setattr(base, "find_spec", lambda name: None if name in names else found(name))


def test_torch_is_installed_only_by_its_extension(installed: Installed) -> None:
    installed.extension()
    assert room.install_packages(["torch"])
    assert installed.asked == [("torch", True)]


def test_without_the_extension_the_one_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InputError, match="pytorch_extension_missing"):
        room.install_packages(["torch", "transformers"])


def test_other_packages_are_installed_by_slicers_packaging_functions(installed: Installed) -> None:
    installed.packaging()
    assert room.install_packages(["transformers", "platformdirs"])
    ((kind, (requirements, requester)),) = installed.asked
    assert (kind, requester) == ("ensure", "Few-Shot Annotate")
    assert requirements == ("transformers==5.23.0", "platformdirs>=4")


def test_an_older_slicer_asks_and_installs(installed: Installed, dialogs: Any) -> None:
    installed.older()
    assert room.install_packages(["platformdirs"])
    assert installed.asked == [("install", "platformdirs>=4")]
    dialogs.answer_next("Cancel")
    assert not room.install_packages(["platformdirs"])
    assert len(installed.asked) == 1
    assert "platformdirs" in dialogs.texts[-1]


def test_an_older_slicer_shows_the_download_size_where_it_is_known(installed: Installed, dialogs: Any) -> None:
    installed.older()
    assert room.install_packages(["transformers", "safetensors"])
    assert "up to 29 MB" in dialogs.texts[-1]
    assert room.install_packages(["safetensors", "unheard"])
    assert "not known" in dialogs.texts[-1]


def test_after_a_refusal_no_further_question_is_asked(installed: Installed) -> None:
    installed.extension()
    installed.packaging()
    installed.answer = False
    assert not room.install_packages(["torch", "transformers"])
    assert installed.asked == [("torch", True)]
    installed.answer = RuntimeError("declined")
    assert not room.install_packages(["transformers"])


def test_a_failed_installation_is_reported_in_one_line(installed: Installed) -> None:
    installed.packaging()
    installed.answer = CalledProcessError(1, "pip")
    with pytest.raises(InputError, match="install_failed") as refused:
        room.install_packages(["transformers"])
    assert "\n" not in error_text(refused.value)


def test_the_requirements_are_those_this_program_is_tested_with() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in room.REQUIREMENTS.values():
        assert f'"{requirement}"' in text, requirement


def test_an_engine_without_missing_packages_asks_nothing(dialogs: Any) -> None:
    assert room.ensure_engine("propagate")
    assert dialogs.shown == []


def test_an_engine_that_lacks_a_package_offers_it_first(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, dialogs: Any
) -> None:
    installed.packaging()
    installed.answer = RuntimeError("declined")
    lacking(monkeypatch, "platformdirs")
    assert not room.ensure_engine(UNIVERSEG)
    ((_, (requirements, _)),) = installed.asked
    assert requirements == ("platformdirs>=4",)
    assert dialogs.shown == []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has UniverSeg's weights, as far as their checksum goes."""
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


def test_weights_are_downloaded_after_the_licence_was_shown_and_agreed_to(server: Server, dialogs: Any) -> None:
    assert room.ensure_engine(UNIVERSEG)
    (text,) = dialogs.texts
    for words in ("Research-1.0", "For research only.", server.address, "Toy"):
        assert words in text
    assert engine_class(UNIVERSEG).unavailable_reason() is None
    assert room.ensure_engine(UNIVERSEG)
    assert len(dialogs.shown) == len(server.asked) == 1
    slicer_standin.process_events(1)
    assert slicer.util.mainWindow().findChildren(qt.QProgressDialog) == ()


def test_nothing_is_downloaded_without_consent_to_the_licence(server: Server, dialogs: Any) -> None:
    dialogs.answer_next("Cancel")
    assert not room.ensure_engine(UNIVERSEG)
    assert server.asked == []


def test_a_download_that_fails_is_reported(server: Server, dialogs: Any) -> None:
    server.faults = [Fault.MISSING]
    with pytest.raises(InputError, match="404"):
        room.ensure_engine(UNIVERSEG)


def test_a_cancelled_download_returns_at_once(server: Server, dialogs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    server.good_bytes = 20_000
    server.faults = [Fault.STALL, Fault.STALL]
    monkeypatch.setattr(qt.QProgressDialog, "wasCanceled", True)
    began = time.monotonic()
    assert not room.download_checkpoint(catalog.checkpoint("toy-weights"))
    assert time.monotonic() - began < 1
    assert engine_class(UNIVERSEG).unavailable_reason() is not None
