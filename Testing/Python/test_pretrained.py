"""Every pretrained engine: fills in a worker without network access; bad weights and lack of memory are reported."""

from __future__ import annotations

import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.pretrained.base import PretrainedEngine
from fewshot_annotate.engines.registry import engine_class, engine_names
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from fewshot_annotate.jobs import layers as layers_module
from fewshot_annotate.jobs.process import run_in_worker
from fewshot_annotate.weights import catalog, store
from safetensors.torch import save_file
from support.all_weights import all_weights
from support.hostile_weights import CreatesFile, replace_entry
from support.labels import every_nth, keep_slices, small_case
from support.tiny_weights import WeightsFolder, python_with_weights
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)
# Its package depends on many others; it has tests of its own, which run where it is installed.
TESTED_SEPARATELY = "nninteractive"
KINDS = {
    name: kind
    for name in engine_names()
    if issubclass(kind := engine_class(name), PretrainedEngine) and name != TESTED_SEPARATELY
}
# Every engine with each of the files of tensors that it loads.
LOADED = [
    (name, choices[0])
    for name, kind in KINDS.items()
    for choices in kind.checkpoints.values()
    if not catalog.checkpoint(choices[0]).file.endswith(".txt")
]


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeightsFolder]:
    with pytest.MonkeyPatch.context() as patch:
        yield all_weights(tmp_path_factory.mktemp("weights"), patch)


@pytest.fixture(autouse=True)
def nothing_loaded() -> None:
    """A model is kept for the life of a process: each test loads its own."""
    for name, module in sys.modules.copy().items():
        if name.startswith("fewshot_annotate.engines."):
            getattr(getattr(module, "load_network", None), "cache_clear", lambda: None)()


def test_every_pretrained_engine_is_tested() -> None:
    assert set(KINDS) == {
        *("universeg", "multiverseg", "sam", "medsam", "persam", "persam-f"),
        *("seggpt", "painter", "grounding-dino", "sam2-video"),
    }


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("universeg", "sam") else [pytest.mark.slow]) for name in KINDS]
)
def test_fill_runs_the_engine_in_a_worker_and_keeps_painted_slices(
    name: str,
    weights_folder: WeightsFolder,
    awkward_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        layers_module, "run_in_worker", partial(run_in_worker, python=python_with_weights(weights_folder.home))
    )
    volume, label_map = small_case()
    indices = every_nth(label_map, AXIS, 6)
    painted = keep_slices(label_map, AXIS, indices)
    write_array(awkward_path / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(awkward_path / "support.nii.gz", [painted])
    image, support, out = (awkward_path / f"{stem}.nii.gz" for stem in ("image", "support", "out"))
    options_given = ["--engine", name, "--slices", f"{indices[1]}:{indices[1] + 2}", "--progress", "none"]
    for option, value in {"supports": 2, "side": 64}.items():
        if option in KINDS[name].options:
            options_given += ["--option", f"{option}={value}"]
    code = main(["fill", str(image), str(support), "-o", str(out), *options_given])
    message, warned = capfd.readouterr()
    assert code == 0, warned
    (filled,) = read_label_maps(out, volume.geometry)
    np.testing.assert_array_equal(filled.array[indices], painted.array[indices])
    assert f"engine {name}" in message
    assert torch.cuda.is_available() or "computes on the processor: " in warned


if sys.platform == "linux":

    def test_a_worker_that_makes_a_network_request_is_killed(weights_folder: WeightsFolder, tmp_path: Path) -> None:
        script = tmp_path / "asks.py"
        script.write_text("import socket\nsocket.socket().connect_ex(('127.0.0.1', 9))\n", encoding="utf-8")
        ended = subprocess.run([python_with_weights(weights_folder.home), str(script)], check=False, timeout=120)
        assert ended.returncode == -signal.SIGSYS


# --- damaged, malicious and wrong files of weights


def with_code(path: Path, marker: Path) -> None:
    torch.save({"weight": CreatesFile(marker)}, path)


def cut_off(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def bomb(path: Path, _: Path) -> None:
    torch.save({"weight": torch.zeros(1 << 20)}, path)
    replace_entry(path, "none", b"", zipfile.ZIP_DEFLATED)


def expanded(path: Path, _: Path) -> None:
    torch.save({"weight": torch.zeros(4).expand(1 << 30, 4)}, path)


def escaping(path: Path, marker: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"../{marker.name}", b"x")


def another_model(path: Path, _: Path) -> None:
    state = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save({"model": state, **state}, path)


def web_page(path: Path, _: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>" * 20)


@pytest.mark.parametrize("damage", [with_code, cut_off, bomb, expanded, escaping, another_model, web_page])
@pytest.mark.parametrize(("name", "checkpoint"), LOADED)
def test_files_that_are_not_these_weights_are_refused_in_one_line(
    name: str, checkpoint: str, damage: Callable[[Path, Path], None], weights_folder: WeightsFolder, tmp_path: Path
) -> None:
    """Also where their checksum matches: whoever changed the file may have changed the table."""
    path = store.path_of(catalog.checkpoint(checkpoint))
    good, marker = path.read_bytes(), tmp_path / "marker"
    try:
        damage(path, marker)
        weights_folder.put_file(checkpoint, path.read_bytes())
        with pytest.raises(InputError) as refused:
            list(prepared(name).predict([15]))
    finally:
        weights_folder.put_file(checkpoint, good)
    assert refused.value.code.startswith("weights_")
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not marker.exists()
    assert not (path.parent.parent / marker.name).exists()


@pytest.mark.parametrize(("name", "checkpoint"), LOADED)
def test_weights_with_a_wrong_checksum_are_not_read(
    name: str, checkpoint: str, weights_folder: WeightsFolder
) -> None:
    path = store.path_of(catalog.checkpoint(checkpoint))
    good = path.read_bytes()
    try:
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(InputError) as refused:
            list(prepared(name).predict([15]))
    finally:
        path.write_bytes(good)
    assert refused.value.code == "weights_differ"


# --- memory


class NoMemory(TorchDispatchMode):
    """Memory runs out wherever a network computes something large."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(part in str(function) for part in ("conv", "aten.linear", "mm.")):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", KINDS)
def test_a_lack_of_memory_is_reported_with_advice(name: str, weights_folder: WeightsFolder) -> None:
    engine = prepared(name)
    with NoMemory(), pytest.raises(InputError) as refused:
        list(engine.predict([15]))
    assert refused.value.code == "memory_short"
    assert "\n" not in str(refused.value)


def prepared(name: str) -> PretrainedEngine:
    """The engine prepared for a small case, without cached embeddings."""
    small = {"side": 64, "cache": 0, "text": "liver. spleen."}
    options = {option: value for option, value in small.items() if option in KINDS[name].options}
    volume, label_map = small_case()
    engine = KINDS[name](options=options)
    engine.prepare(volume, Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, 6)))
    return engine
