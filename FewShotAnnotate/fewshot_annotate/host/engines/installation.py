"""Installation of packages and download of weights that an engine needs, with the user's consent."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from subprocess import CalledProcessError

import slicer

from ...core.errors import InputError
from ...engines.pretrained.engine_weights import engine_using
from ...engines.registry import engine_class
from ...weights import download
from ...weights.catalog import Checkpoint
from ..i18n import tr as _
from ..settings import Settings
from ..tasks import BackgroundTasks
from .descriptions import restrictions_text

# Versions that were tested; the extension PyTorch chooses torch and torchvision for the user's GPU.
REQUIREMENTS = {
    "transformers": "transformers==5.23.0",
    "segment-anything": "segment-anything==1.0",
    "safetensors": "safetensors>=0.4",
    "platformdirs": "platformdirs>=4",
    "huggingface_hub": "huggingface_hub>=2.4,<3",
}
# Approximate size in MB of what pip downloads for each, dependencies other than numpy included (Linux, Python 3.11).
DOWNLOAD_MEGABYTES = {
    "transformers": 28,
    "segment-anything": 1,
    "safetensors": 1,
    "platformdirs": 1,
    "huggingface_hub": 8,
    "pillow": 7,
    "matplotlib": 23,
    "jinja2": 1,
}
OF_PYTORCH_EXTENSION = ("torch", "torchvision")
REQUESTER = "Few-Shot Annotate"
_MEGABYTE = 1e6


class _Cancelled(Exception):  # noqa: N818 (no error: the user's wish)
    """The user closed the progress dialog."""


def ensure_engine(engine_name: str) -> bool:
    """Install and download what an engine needs; false if the user declines.

    Must be called in the main thread. Whatever cannot be installed or downloaded is reported by the run.

    Raises
    ------
    InputError
        An installation or a download failed.
    """
    engine = engine_class(engine_name)
    packages = engine.missing_packages()
    if packages and not install_packages(packages):
        return False
    missing = engine.missing_checkpoints()
    if missing and find_spec("huggingface_hub") is None and not install_packages(["huggingface_hub"]):
        return False
    return all(_confirm_download(checkpoint) and download_checkpoint(checkpoint) for checkpoint in missing)


def install_packages(packages: Sequence[str]) -> bool:
    """Install Python packages into Slicer; false if the user declines.

    Torch only by the extension PyTorch, the others by Slicer's own packaging functions.

    Raises
    ------
    InputError
        The extension is missing, or an installation failed.
    """
    others = [name for name in packages if name not in OF_PYTORCH_EXTENSION]
    if len(others) < len(packages) and not _install_torch():
        return False
    if others and not _install(others):
        return False
    importlib.invalidate_caches()
    return True


def download_checkpoint(checkpoint: Checkpoint) -> bool:
    """Download a checkpoint with a progress dialog; false if the user cancels.

    A partial download is kept, and the next one continues it.

    Raises
    ------
    InputError
        It cannot be downloaded.
    """
    dialog = slicer.util.createProgressDialog(
        labelText=_("Downloading {title}").format(title=checkpoint.title), maximum=100, value=0
    )
    state = {"done": 0, "total": checkpoint.size or 0, "stop": 0}

    def progress(done: int, total: int | None) -> None:
        if state["stop"]:
            raise _Cancelled
        state.update(done=done, total=total or 0)

    tasks = BackgroundTasks("Download")
    done: list[object] = []
    tasks.start(lambda: download.download(checkpoint, True, engine_using(checkpoint), progress), done.append)
    try:
        while not done:
            tasks.poll()
            if state["total"]:
                dialog.setValue(100 * state["done"] // state["total"])
            slicer.app.processEvents()
            if dialog.wasCanceled:
                state["stop"] = 1
                return False
    except _Cancelled:
        return False
    finally:
        dialog.close()
        dialog.deleteLater()  # the main window would keep it, and its shortcut
        tasks.close()
    return True


def _install_torch() -> bool:
    try:
        import PyTorchUtils
    except ImportError:
        raise InputError("pytorch_extension_missing") from None
    return _run_installation(
        "torch", lambda: PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is not None
    )


def _install(packages: Sequence[str]) -> bool:
    requirements = [REQUIREMENTS.get(name, name) for name in packages]
    text = " ".join(requirements)
    if find_spec("slicer.packaging") is not None:  # Slicer 5.12
        from slicer import packaging

        def ensured() -> bool:
            try:
                packaging.pip_ensure(requirements, requester=REQUESTER)
            except RuntimeError:  # raised if the user declines
                return False
            return True

        return _run_installation(text, ensured)
    question = _("{requester} needs these Python packages:\n\n{packages}\n\n{size}\n\nInstall them now?").format(
        requester=REQUESTER, packages=text, size=_download_size(packages)
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        return False
    return _run_installation(text, lambda: slicer.util.pip_install(text) is None)


def _download_size(packages: Sequence[str]) -> str:
    """What pip downloads, at most: some of it may be there already."""
    if not DOWNLOAD_MEGABYTES.keys() >= set(packages):
        return _("How much pip downloads for them is not known.")
    size = sum(DOWNLOAD_MEGABYTES[name] for name in packages)
    return _("pip downloads up to {size} MB and shows its progress in Slicer's Python console.").format(size=size)


def _run_installation(what: str, step: Callable[[], bool]) -> bool:
    try:
        return step()
    except (CalledProcessError, OSError) as error:
        raise InputError("install_failed", packages=what, detail=str(error).splitlines()[0]) from None


def _confirm_download(checkpoint: Checkpoint) -> bool:
    size = _("size unknown") if checkpoint.size is None else f"{checkpoint.size / _MEGABYTE:.0f} MB"
    lines = (
        _("{title} is not on this computer. Download it now?").format(title=checkpoint.title),
        f"{checkpoint.url} ({size})",
        _("Licence: {licence}. {restrictions}").format(
            licence=checkpoint.licence, restrictions=restrictions_text(checkpoint)
        ),
        checkpoint.licence_url,
        _("Please cite: {citation}").format(citation=checkpoint.citation),
    )
    if not slicer.util.confirmOkCancelDisplay("\n\n".join(lines)):
        return False
    Settings(slicer.app.userSettings()).add_consent(checkpoint)
    return True
