"""Models of a task: trained on its examples, and filling volumes with few or no painted slices."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fewshot_annotate as fsa
import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.locks import open_locked
from fewshot_annotate.core.volume import LabelMap, Segment
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.task.library import create_task
from fewshot_annotate.datasets.task.models import newest_model, task_models
from fewshot_annotate.datasets.task.task import Task, read_task
from fewshot_annotate.datasets.task.training import TrainingRequest, train_task
from fewshot_annotate.engines.base import RunContext, Stopped
from fewshot_annotate.io.files import read_label_maps, write_label_maps
from support.cluster import start_scheduler, start_worker
from support.disk import largest_file
from support.processes import Spawned
from support.tasks import GRID, SEGMENTS, SHAPE, ball, task_of_balls, write_ball

pytestmark = pytest.mark.usefixtures("forked_workers")

SECONDS = 2.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with the trained task `balls`; do not change it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_ANNOTATE_HOME", str(home))
        task = task_of_balls("balls", 0, 1, 2)
        train_task(TrainingRequest(task=task.folder, seconds=SECONDS))
        yield home


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained task, to be changed."""
    folder = tmp_path / "home"
    shutil.copytree(trained, folder)
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(folder))
    return folder


def balls(home: Path) -> Task:
    """The task `balls` of a data folder."""
    return read_task(home / "library" / "balls")


def test_a_trained_task_has_its_dice_on_unseen_patients(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["task", "show", "balls"]) == 0
    out = capsys.readouterr().out
    model = newest_model(balls(trained))
    assert model is not None
    for name, expected in model.expected(balls(trained)):
        assert f"Expected Dice {name:<14} {expected.dice:.3f}  (90 % interval {expected.low:.3f}" in out
    assert main(["task", "list"]) == 0
    assert f"{np.mean([one.dice for _, one in model.expected(balls(trained))]):.3f}" in capsys.readouterr().out


def test_the_export_of_a_trained_task_says_that_models_are_not_in_the_file(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "balls.zip"
    assert main(["task", "export", "balls", "-o", str(file)]) == 0
    assert "Note: the file holds the examples, not the models; train the task after its import." in (
        capsys.readouterr().err
    )
    assert main(["task", "import", str(file), "--name", "again"]) == 0
    assert newest_model(read_task(home / "library" / "again")) is None


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_a_training_without_its_packages_says_what_to_install(
    package: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert main(["task", "train", "balls", "--progress", "none"]) == 2
    assert f"Engine specialist cannot run here: it needs the Python package {package}:" in capsys.readouterr().err
    assert [model.number for model in task_models(balls(home))] == ["0001"]


def test_a_training_on_a_cluster_without_dask_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)  # as if it were not installed
    assert main(["task", "train", "balls", "--scheduler", "tls://localhost:1", "--progress", "none"]) == 2
    assert "The package distributed is missing; install it with:" in capsys.readouterr().err


def test_compiled_files_of_a_training_are_removed_with_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    folders = []

    def stop() -> bool:
        folders.append(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        return True

    with pytest.raises(Stopped):
        train_task(TrainingRequest(task=task_of_balls("other", 0).folder, seconds=SECONDS), RunContext(stop=stop))
    assert folders
    assert not folders[0].exists()


def test_a_volume_without_painted_slices_is_filled(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, _ = write_ball(tmp_path, 9)
    out = tmp_path / "out.nii.gz"
    assert main(["fill", str(image), "--task", "balls", "-o", str(out), "--progress", "none"]) == 0
    (filled,) = read_label_maps(out)
    assert [(one.value, one.name, one.colour) for one in filled.segments] == [
        (one.value, one.name, one.colour) for one in SEGMENTS
    ]
    stdout = capsys.readouterr().out
    assert "10 slices filled, 0 were labelled" in stdout
    assert "Expected Dice Core" in stdout


def test_the_python_api_fills_by_a_task(trained: Path) -> None:
    volume, _ = ball(9)
    filled = fsa.fill(volume, task="balls")
    assert filled.engine == "specialist"
    assert [segment.name for segment in filled.layers[0].segments] == ["Core", "Rim"]
    assert filled.labels.any()
    with pytest.raises(InputError, match="no slice is labelled"):
        fsa.fill(volume)


@pytest.mark.slow
def test_painted_slices_are_unchanged_and_keep_their_own_values(trained: Path, tmp_path: Path) -> None:
    image, _ = write_ball(tmp_path, 9)
    painted = np.zeros(SHAPE, np.uint8)
    painted[[4, 6]] = ball(9)[1].array[[4, 6]]
    painted[painted == 2] = 7
    support, out = tmp_path / "painted.nii.gz", tmp_path / "out.nii.gz"
    write_label_maps(
        support, [LabelMap(painted, GRID, (Segment(value=1, name="core"), Segment(value=7, name="RIM")))]
    )
    command = [
        "fill",
        str(image),
        str(support),
        "--axis",
        "0",
        "--task",
        "balls",
        "-o",
        str(out),
        "--progress",
        "none",
    ]
    assert main(command) == 0
    (filled,) = read_label_maps(out)
    np.testing.assert_array_equal(filled.array[[4, 6]], painted[[4, 6]])
    assert set(np.unique(filled.array)) == {0, 1, 7}
    assert filled.array[5].any()


def test_painted_labels_without_names_get_those_of_the_task(trained: Path) -> None:
    volume, truth = ball(9)
    painted = np.zeros(SHAPE, np.uint8)
    painted[[4, 6]] = truth.array[[4, 6]]
    filled = fsa.fill(volume, painted, axis=0, task="balls", engine="specialist", slices="between")
    assert [segment.name for segment in filled.layers[0].segments] == list(filled.expected_dice) == ["Core", "Rim"]


def test_the_expected_dice_names_segments_as_the_painted_labels_do(trained: Path) -> None:
    volume, truth = ball(9)
    segments = (Segment(value=1, name="core"), Segment(value=2, name="RIM"))
    painted = LabelMap(np.zeros(SHAPE, np.uint8), volume.geometry, segments)
    painted.array[[4, 6]] = truth.array[[4, 6]]
    filled = fsa.fill(volume, painted, axis=0, task="balls", engine="specialist", slices="between")
    assert [segment.name for segment in filled.layers[0].segments] == list(filled.expected_dice) == ["core", "RIM"]


@pytest.mark.slow
def test_a_batch_fills_by_the_task_and_its_accepted_cases_become_examples(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (7, 8):
        write_ball(tmp_path, seed)
    manifest, out = tmp_path / "manifest.csv", tmp_path / "out"
    manifest.write_text("image\nball7.nii.gz\nball8.nii.gz\n")
    command = ["batch", str(manifest), "--task", "balls", "--progress", "none", "-o"]
    assert main([*command, str(out)]) == 0
    assert main([*command, str(tmp_path / "again"), "--workers", "2"]) == 0
    for name in ("ball7", "ball8"):
        one, other = ((folder / name / "label.nii.gz").read_bytes() for folder in (out, tmp_path / "again"))
        assert one == other
    outcome = json.loads((out / "ball7" / "case.json").read_text())["outcome"]
    assert (outcome["engine"], outcome["model"], len(outcome["expected"])) == ("specialist", "0001", 2)
    assert f"Core {outcome['expected'][0]['dice']:.2f}" in (out / "index.html").read_text()
    assert main([*command, str(out), "--resume"]) == 0  # nothing is run again
    BatchFolder(out).status.set_accepted("ball7", True)
    assert main(["task", "add", "balls", str(out)]) == 0
    assert "4 examples, Core, Rim; 1 case added, 1 not accepted yet" in capsys.readouterr().out
    added = balls(home).examples[-1]
    assert dict(added.origins) == {"painted": 0, "corrected": 0, "accepted": 10}
    assert added.engine == "specialist 0.2.0"


@pytest.mark.slow
def test_a_stopped_training_is_resumed_and_the_next_one_starts_from_its_model(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of_balls("more", 0, 1)
    request = TrainingRequest(task=task.folder, seconds=SECONDS)
    calls = []
    stop = RunContext(on_progress=calls.append, stop=lambda: len(calls) > 3)
    with pytest.raises(Stopped):
        train_task(request, stop)
    assert [(model.number, model.report) for model in task_models(task)] == [("0001", None)]
    assert newest_model(task) is None
    assert train_task(request).number == "0001"
    more = task_of_balls("even more", 2)
    shutil.copytree(more.folder / "examples" / "0001", task.folder / "examples" / "0003")
    task = read_task(task.folder)
    (task.folder / "task.json").unlink()
    replace(task, examples=(*task.examples, replace(more.examples[0], number="0003"))).write()
    later = train_task(request)
    assert (later.number, later.record.start, later.record.examples) == ("0002", "0001", 3)


def test_a_training_that_made_the_model_worse_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = task_models(balls(home))
    report = json.loads((model.folder / "report.json").read_text())
    for expected in report["expected_dice"]:
        expected |= {"dice": 0.999, "high": 1.0}
    (model.folder / "report.json").write_text(json.dumps(report))
    assert main(["task", "train", "balls", "--budget", str(SECONDS), "--progress", "none"]) == 0
    assert "that of model 0001 was 0.999; a longer --budget gives a better model." in capsys.readouterr().err
    assert main(["task", "train", "balls", "--budget", str(2 * SECONDS), "--progress", "none"]) == 0
    assert "longer" not in capsys.readouterr().err, "better than the second model, which is the one before"


def test_a_stopped_training_with_another_time_limit_says_that_it_begins_anew(home: Path) -> None:
    task = task_of_balls("limits", 0, 1)
    warned: list[str] = []
    for seconds in (60, 60, 90):
        calls: list[float] = []
        stop = RunContext(
            on_progress=calls.append,
            stop=lambda calls=calls: len(calls) > 3,
            warn=lambda message: warned.append(str(message)),
        )
        with pytest.raises(Stopped):
            train_task(TrainingRequest(task=task.folder, seconds=seconds), stop)
    assert warned == ["The interrupted training had a time limit of 60 s; with 90 s training begins anew."]


REFUSED = {
    "no task": ("fill {image} --task none -o {out}", "There is no task 'none'; there are: balls"),
    "not trained": ("fill {image} --task empty -o {out}", "Task 'empty' has no trained model; train it:"),
    "no support": ("fill {image} -o {out}", "Give SUPPORT"),
    "other engine": ("fill {image} --task balls --engine propagate -o {out}", "propagate cannot use the model"),
    "not painted": ("fill {image} --task balls --engine adapt -o {out}", "engines that can: specialist"),
    "other segments": ("fill {image} {kidney} --task balls -o {out}", "segment Kidney is not in task 'balls'"),
    "no examples": ("task train empty", "Task 'empty' has no labelled examples; add some:"),
    "no label": ("task train lacking", "Segment 'Rim' is on no example of task 'lacking'"),
    "batch": ("batch {manifest} --task empty -o {out}", "row 2: Task 'empty' has no trained model"),
    "budget": ("task train balls --budget 0", "'0'"),
}


@pytest.mark.parametrize(("command", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_impossible_requests_are_refused_in_one_line(
    command: str, message: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_task("empty")
    lacking = task_of_balls("lacking", 0)
    content = json.loads((lacking.folder / "task.json").read_text())
    content["examples"][0]["voxels"][1] = 0
    (lacking.folder / "task.json").write_text(json.dumps(content))
    image, _ = write_ball(tmp_path, 9)
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 2:5, 3:7] = 1
    write_label_maps(tmp_path / "kidney.nii.gz", [LabelMap(labels, GRID, (Segment(value=1, name="Kidney"),))])
    (tmp_path / "manifest.csv").write_text(f"image,support\n{image.name},\n")
    files = {
        "image": image,
        "out": tmp_path / "out.nii.gz",
        "kidney": tmp_path / "kidney.nii.gz",
        "manifest": tmp_path / "manifest.csv",
    }
    assert main([argument.format(**files) for argument in command.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not files["out"].exists()


def test_a_model_of_other_segments_is_reported(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = balls(home)
    content = json.loads((task.folder / "task.json").read_text())
    content["labels"][0]["name"] = "Kernel"
    (task.folder / "task.json").write_text(json.dumps(content))
    image, _ = write_ball(tmp_path, 9)
    assert main(["fill", str(image), "--task", "balls", "-o", str(tmp_path / "out.nii.gz")]) == 2
    stderr = capsys.readouterr().err
    assert "Model 0001 of task 'balls' was trained on other segments (Core, Rim) than the task has now" in stderr


def test_a_model_without_weights_is_trained_again(home: Path, tmp_path: Path) -> None:
    models = balls(home).folder / "models"
    (models / "0001" / "model.safetensors").unlink()  # as after a power failure in the moment before it is written
    assert newest_model(balls(home)) is None
    model = train_task(TrainingRequest(task=balls(home).folder, seconds=SECONDS))
    assert (model.number, model.in_training) == ("0001", False)


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", b""), ("plan.json", b'{"version": 2}'), ("report.json", b'{"version": 2}')],
)
def test_training_again_replaces_a_damaged_model_and_keeps_its_files(
    file: str, content: bytes, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = balls(home).folder / "models" / "0001"
    (folder / file).write_bytes(content)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    image, _ = write_ball(tmp_path, 9)
    fill = ["fill", str(image), "--task", "balls", "-o", str(tmp_path / "out.nii.gz"), "--progress", "none"]
    assert main(fill) == 2
    assert "the trained model cannot be read" in capsys.readouterr().err
    assert main(["task", "train", "balls", "--budget", "1", "--progress", "none"]) == 0
    unusable = (
        "Model 0001 of task 'balls' cannot be read; training does not start from it." in capsys.readouterr().err
    )
    assert unusable == (file != "report.json")
    assert main(fill) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


def test_a_task_is_not_removed_while_it_is_trained(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = open_locked(balls(home).folder / "models" / ".training.lock")
    assert lock is not None
    with lock:
        assert main(["task", "remove", "balls", "--yes"]) == 2
    assert "Task 'balls' is being trained by another process" in capsys.readouterr().err
    assert main(["task", "remove", "balls", "--yes"]) == 0
    assert not (home / "library" / "balls").exists()


def test_one_process_trains_a_task_at_a_time(home: Path) -> None:
    task = balls(home)
    lock = open_locked(task.folder / "models" / ".training.lock")
    assert lock is not None
    with lock, pytest.raises(InputError, match="is being trained by another process"):
        train_task(TrainingRequest(task=task.folder, seconds=SECONDS))
    assert [model.number for model in task_models(task)] == ["0001"]


@pytest.mark.slow
def test_a_killed_training_is_resumed_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawned: Spawned
) -> None:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    task = task_of_balls("balls", 0, 1, 2)
    command = ["task", "train", "balls", "--budget", "10", "--progress", "json"]
    training = spawned.cli(*command)
    assert training.stdout is not None
    for line in training.stdout:
        if json.loads(line)["fraction"] > 0.5:
            break
    training.kill()
    training.wait()
    assert [(model.number, model.report) for model in task_models(task)] == [("0001", None)]
    assert spawned.cli(*command).wait(120) == 0
    (model,) = task_models(task)
    assert model.report is not None
    assert model.number == "0001"


@pytest.mark.slow
def test_a_cluster_trains_and_fills_as_one_process_does(home: Path, tmp_path: Path, spawned: Spawned) -> None:
    environment = {"DASK_TEMPORARY_DIRECTORY": str(tmp_path)}
    address, _ = start_scheduler(spawned, environment)
    start_worker(spawned, address, environment)
    command = ["task", "train", "balls", "--budget", str(SECONDS), "--scheduler", address, "--progress", "none"]
    assert main(command) == 0
    assert [model.number for model in task_models(balls(home)) if model.report] == ["0001", "0002"]
    write_ball(tmp_path, 7)
    (tmp_path / "manifest.csv").write_text("image\nball7.nii.gz\n")
    command = ["batch", str(tmp_path / "manifest.csv"), "--task", "balls", "--progress", "none", "-o"]
    assert main([*command, str(tmp_path / "local")]) == 0
    assert main([*command, str(tmp_path / "distributed"), "--scheduler", address]) == 0
    local, distributed = (tmp_path / folder / "ball7" / "label.nii.gz" for folder in ("local", "distributed"))
    assert local.read_bytes() == distributed.read_bytes()


def test_a_full_disk_ends_training_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = sorted(one.name for one in (balls(home).folder / "models").iterdir())
    with largest_file(100):
        assert main(["task", "train", "balls", "--budget", str(SECONDS), "--progress", "none"]) == 2
    assert sorted(one.name for one in (balls(home).folder / "models").iterdir()) == models
    err = capsys.readouterr().err
    assert "cannot be written" in err
    assert err.count("\n") == 1
    assert newest_model(balls(home)) is not None
