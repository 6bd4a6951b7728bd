"""No command replaces or removes existing data without the consent of the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.io.files import write_array, write_label_maps

pytestmark = pytest.mark.usefixtures("forked_workers")

FILL = ["fill", "image.nii.gz", "labels.nii.gz", "--engine", "propagate", "-o"]
# Commands whose last argument, which is left out here, is a file to write.
WRITING = {
    "fill": FILL,
    "confidence": [*FILL, "new.nii.gz", "--confidence"],
    "preview": [*FILL, "new.nii.gz", "--preview"],
    "statistics": [*FILL, "new.nii.gz", "--statistics"],
    "export": ["export", "labels.nii.gz", "--to", "nifti", "-o"],
    "manifest": ["manifest", ".", ".", "--images", "image.nii.gz", "--supports", "labels.nii.gz", "-o"],
    "task export": ["task", "export", "liver", "-o"],
    "library export": ["library", "export", "slices", "-o"],
}
SUFFIXES = {
    "preview": ".png",
    "statistics": ".csv",
    "manifest": ".csv",
    "task export": ".zip",
    "library export": ".zip",
}
# Commands that remove something, and its name in their question.
REMOVING = {
    "task": (["task", "remove", "liver"], "task 'liver'"),
    "example": (["task", "remove", "liver", "--example", "1"], "example 1 of task 'liver'"),
    "library": (["library", "remove", "slices"], "task 'slices'"),
}


@pytest.fixture(scope="module")
def case_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image and labels, and two tasks: one with an example, one saved in the library."""
    folder = tmp_path_factory.mktemp("consent")
    image = np.random.default_rng(0).normal(100, 9, (9, 12, 12)).astype(np.int16)
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[::4, 3:8, 4:9] = 1
    geometry = Geometry(image.shape)
    write_array(folder / "image.nii.gz", image, geometry)
    write_label_maps(folder / "labels.nii.gz", [LabelMap(labels, geometry)])
    files = [str(folder / name) for name in ("image.nii.gz", "labels.nii.gz")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder / "home"))
        assert main(["task", "create", "liver"]) == 0
        assert main(["task", "add", "liver", *files, "--labelled-slices", "0,4,8"]) == 0
        assert main(["library", "save", "slices", *files]) == 0
    return folder


@pytest.fixture(autouse=True)
def in_folder(case_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case_folder)
    monkeypatch.setenv(HOME_VARIABLE, str(case_folder / "home"))


@pytest.mark.parametrize("name", WRITING)
def test_an_existing_file_is_replaced_only_with_consent(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    output = Path(f"kept{SUFFIXES.get(name, '.nii.gz')}")
    output.write_bytes(b"corrected by hand")
    command = [*WRITING[name], str(output)]
    assert main(command) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert (
        line == f"fewshot-annotate: {output}: it is there already; choose another name, or replace it (--overwrite)."
    )
    assert output.read_bytes() == b"corrected by hand"
    assert not Path("new.nii.gz").exists()
    assert main([*command, "--overwrite"]) == 0
    assert output.read_bytes() != b"corrected by hand"
    Path("new.nii.gz").unlink(missing_ok=True)


@pytest.mark.parametrize("command", ["fill", "export"])
def test_existing_label_names_are_replaced_only_with_consent(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    names = Path(f"{command}-new.nii.gz.labels.json")
    names.write_text('{"1": "liver"}')
    assert main([*WRITING[command], f"{command}-new.nii.gz"]) == 2
    assert str(names) in capfd.readouterr().err
    assert names.read_text() == '{"1": "liver"}'
    assert not Path(f"{command}-new.nii.gz").exists()


@pytest.mark.parametrize("name", REMOVING)
def test_nothing_is_removed_without_consent(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case_folder: Path
) -> None:
    command, what = REMOVING[name]
    before = sorted(case_folder.rglob("*"))
    assert main(command) == 2, "nobody can be asked"
    refusal = f"fewshot-annotate: {what[0].upper()}{what[1:]} was not removed; confirm with --yes.\n"
    assert capfd.readouterr().err == refusal
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n")
    assert main(command) == 2
    assert f"Remove {what}? [y/N] " in capfd.readouterr().err
    assert sorted(case_folder.rglob("*")) == before
