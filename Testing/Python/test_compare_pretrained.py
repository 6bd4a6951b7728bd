"""`compare` and the study with pretrained engines, with small random weights, so only completeness is checked."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.engines.pretrained.base import PretrainedEngine
from fewshot_annotate.engines.registry import engine_class, engine_names
from fewshot_annotate.evaluation import trials as trial_module
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs.process import run_in_worker
from support.all_weights import all_weights
from support.labels import every_nth, keep_slices, small_case
from support.tiny_weights import WeightsFolder, python_with_weights

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)
# The package of nnInteractive is not among those that the tests install.
PRETRAINED = [
    name
    for name in engine_names()
    if issubclass(engine_class(name), PretrainedEngine) and (name != "nninteractive" or find_spec("nnInteractive"))
]
QUICK = ("--sizes", "2", "--draws", "1", "--held-out", "1", "--progress", "none")


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeightsFolder]:
    with pytest.MonkeyPatch.context() as patch:
        yield all_weights(tmp_path_factory.mktemp("weights"), patch)


@pytest.fixture
def folder(weights_folder: WeightsFolder, awkward_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small volume with all its labels and with a few labelled slices; all weights are installed."""
    monkeypatch.setattr(
        trial_module, "run_in_worker", partial(run_in_worker, python=python_with_weights(weights_folder.home))
    )
    volume, label_map = small_case()
    write_array(awkward_path / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(awkward_path / "labels.nii.gz", [label_map])
    write_label_maps(awkward_path / "painted.nii.gz", [keep_slices(label_map, AXIS, every_nth(label_map, AXIS, 6))])
    return awkward_path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_pretrained_engines_are_compared_with_a_built_in_one(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engines = [*PRETRAINED, "propagate"]
    inputs = (folder / "image.nii.gz", folder / "painted.nii.gz", "-o", folder / "report")
    small = [f"--option={name}.side=64" for name in PRETRAINED if "side" in engine_class(name).options]
    assert main(["compare", *map(str, inputs), "--engines", ",".join(engines), *small, *QUICK]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "Not compared" not in out
    with (folder / "report" / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["engine"] for row in rows] == engines
    assert all(0 <= float(row["dice_mean"]) <= 1 for row in rows)
    assert all(float(row["seconds_to_first_slice"]) > 0 for row in rows)


@pytest.mark.slow
def test_an_engine_without_weights_is_named_and_the_others_are_compared(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    WeightsFolder(tmp_path, monkeypatch)
    inputs = (folder / "image.nii.gz", folder / "painted.nii.gz", "-o", folder / "report")
    assert main(["compare", *map(str, inputs), "--engines", "propagate,medsam", *QUICK]) == 0
    assert "Not compared: medsam: it needs weights" in capfd.readouterr().out
    assert "it needs weights" in (folder / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_study_runs_with_a_pretrained_engine(folder: Path) -> None:
    manifest = folder / "manifest.csv"
    manifest.write_text("image,label,group\nimage.nii.gz,labels.nii.gz,MR\n", encoding="utf-8")
    arguments = ("compare", "--study", manifest, "-o", folder / "study", "--engines", "sam,propagate", *QUICK)
    assert main([*map(str, arguments)]) == 0
    with (folder / "study" / "groups.csv").open(encoding="utf-8", newline="") as file:
        assert {row["engine"] for row in csv.DictReader(file)} == {"sam", "propagate"}
