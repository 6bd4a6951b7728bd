"""The recipes of the documents run as they are written."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_annotate.cli import main
from fewshot_annotate.core.exit_codes import ExitCode
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps

DOCUMENT = Path(__file__).parents[2] / "Resources" / "Documentation" / "recipes.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
SHAPE = (9, 20, 24)


def block(contained: str) -> str:
    """The code block of the document that contains a text."""
    (found,) = (text for _, text in BLOCKS if contained in text)
    return found


def bar() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bright bar through all slices: image, truth, and the truth on the first and the last slice."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[:, 6:14, 8:16] = 1
    image = (truth * 100 + np.random.default_rng(0).integers(0, 9, SHAPE)).astype(np.int16)
    painted = np.zeros_like(truth)
    painted[[0, -1]] = truth[[0, -1]]
    return image, truth, painted


def run(code: str, **names: Any) -> dict[str, Any]:
    """Variables after a piece of code has run."""
    exec(code, names)
    return names


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the recipes name, in which they run."""
    image, truth, painted = bar()
    geometry, segments = Geometry(SHAPE, (1.0, 1.0, 3.0)), (Segment(value=1, name="bar"),)
    for name in ("ct.nii.gz", "imagesTr/case_1_0000.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_array(tmp_path / name, image, geometry)
    for name, labels in (("filled.nii.gz", truth), ("painted/case_1.nii.gz", painted)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_label_maps(tmp_path / name, [LabelMap(labels, geometry, segments)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_numpy_volume_is_filled_in_three_lines() -> None:
    image, truth, painted = bar()
    after = run(block("filled.confidence"), volume=image, painted=painted)
    assert np.mean(after["labels"] == truth) > 0.98
    assert after["confidence"].shape == SHAPE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")  # what is not installed for DICOM files
def test_monai_reads_a_filled_file(files: Path) -> None:
    case = run(block("LoadImaged"))["case"]
    assert case["image"].shape == case["label"].shape == (1, *SHAPE[::-1])
    assert np.array_equal(case["label"][0].numpy().T, bar()[1])


def test_an_array_of_monai_is_filled_after_its_axes_were_reversed() -> None:
    image, truth, painted = (torch.as_tensor(array.T.copy())[None] for array in bar())
    label = run(f"import fewshot_annotate as fsa\n{block('.T[None]')}", image=image, painted=painted)["label"]
    assert label.shape == truth.shape
    assert np.mean(label == truth.numpy()) > 0.98


def test_torchio_reads_a_filled_file(files: Path) -> None:
    subject = run(block("torchio.Subject"))["subject"]
    assert np.array_equal(subject["label"].numpy()[0].T, bar()[1])


def test_cases_for_nnunet_are_listed_filled_accepted_and_exported(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in block("--format nnunet").splitlines():
        words = shlex.split(line)
        assert main(words[1:]) == ExitCode.DONE, capsys.readouterr().err
    (exported,) = (files / "nnUNet_raw").rglob("labelsTr/*.nii.gz")
    (label_map,) = read_label_maps(exported)
    assert np.mean(label_map.array == bar()[1]) > 0.98


def test_the_array_of_slurm_jobs_reads_the_columns_that_the_manifest_has(files: Path) -> None:
    assert main(["manifest", "imagesTr", "painted", "-o", "manifest.csv"]) == ExitCode.DONE
    columns = re.search(r"read -r (.+) <<<", block("#SBATCH"))
    assert columns is not None
    with (files / "manifest.csv").open(newline="") as file:
        assert columns[1].split() == next(csv.reader(file))
    command = next(line for line in block("#SBATCH").splitlines() if line.startswith("fewshot-annotate"))
    values = {"image": "ct.nii.gz", "support": "painted/case_1.nii.gz", "name": "one"}
    words = [re.sub(r"\$(\w+)", lambda found: values[found[1]], word) for word in shlex.split(command)]
    (files / "filled").mkdir()
    assert main([*words[1:], "--engine", "propagate"]) == ExitCode.DONE
    assert (files / "filled/one.nii.gz").is_file()
    assert (files / "filled/one.csv").is_file()
