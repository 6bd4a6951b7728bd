"""A data set in Slicer without its panel: real MRML, real files, and the processes that fill and train."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.datasets.accepting import LabelHistory
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.listed_cases import cases_path
from fewshot_annotate.datasets.task.library import task_folder
from fewshot_annotate.datasets.task.models import task_models
from fewshot_annotate.datasets.task.task import read_task
from fewshot_annotate.datasets.task.training import TrainingRequest, train_task
from fewshot_annotate.host.datasets.controller import AddedVolumes, DatasetController
from support import mrml
from support.tasks import ball, task_of_balls, write_ball

pytestmark = pytest.mark.usefixtures("forked_workers")

WAIT_SECONDS = 120.0
TRAINING_SECONDS = 3.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the trained task `balls`; tests work on copies."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_ANNOTATE_HOME", str(home))
        train_task(TrainingRequest(task=task_of_balls("balls", 0, 1).folder, seconds=TRAINING_SECONDS))
    return home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in (5, 6, 7):
        write_ball(folder, seed)
    return folder


@pytest.fixture
def controller(home: Path) -> Iterator[DatasetController]:
    mrml.new_scene()
    history = LabelHistory(axis=SliceAxis(0), painted=tuple(range(10)))
    dataset_controller = DatasetController(slicer.mrmlScene, history=lambda: history)
    yield dataset_controller
    dataset_controller.close()


def until(controller: DatasetController, reached: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert time.monotonic() < end, controller.error
        controller.poll()
        time.sleep(0.005)


def settle(controller: DatasetController) -> None:
    """Poll until no file is being read or written."""
    controller.poll()
    until(controller, lambda: not controller.working)


def states(controller: DatasetController) -> list[str]:
    assert controller.review is not None
    return [str(row.state) for row in controller.review.cases]


def paint(controller: DatasetController, seed: int) -> None:
    """Label the case in the scene as a user would."""
    assert controller.review is not None
    node, labels = controller.review.nodes.segmentation, ball(seed)[1]
    segmentation = node.GetSegmentation()
    for segment in labels.segments:
        name = segmentation.GetSegmentIdBySegmentName(segment.name)
        mask = (labels.array == segment.value).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, controller.review.nodes.volume)


@pytest.mark.slow
def test_cases_are_shown_filled_and_accepted_ones_train_the_next_model(
    trained: Path, home: Path, images: Path, tmp_path: Path, controller: DatasetController
) -> None:
    shutil.copytree(trained, home)
    controller.open(tmp_path / "set")
    controller.choose_task("balls")
    controller.add(images)
    until(controller, lambda: controller.filling.busy)
    until(controller, lambda: states(controller).count("filled") == 3 and not controller.filling.busy)
    settle(controller)
    assert (controller.overview.to_fill, controller.error) == (0, None)
    review = controller.review
    assert review is not None
    first = review.table.ranked[0].case.name
    controller.next()
    settle(controller)
    assert review.current == first
    assert sorted(states(controller)) == ["filled", "filled", "in review"]
    assert review.cases[0].mean_expected_dice is not None
    assert review.nodes.segmentation.GetSegmentation().GetNumberOfSegments() == 2
    review.accept()
    settle(controller)
    assert states(controller).count("accepted") == 1
    assert controller.overview.advice is not None
    assert (controller.overview.advice.new, controller.overview.advice.worthwhile) == (1, True)
    controller.train(TRAINING_SECONDS)
    until(controller, lambda: not controller.training.busy)
    assert controller.error is None
    settle(controller)
    assert [model.record.examples for model in task_models(read_task(task_folder("balls")))] == [2, 3]
    assert controller.overview.advice.new == 0
    until(controller, lambda: not controller.filling.busy)  # the other cases are filled again by the new model
    settle(controller)
    records = {name: BatchFolder(tmp_path / "set").case(name).read_record() for name in ("ball5", "ball6", "ball7")}
    models = {name: record and record[1]["model"] for name, record in records.items()}
    assert models == {name: "0001" if name == first else "0002" for name in records}


def list_painted(folder: BatchFolder, images: Path) -> None:
    """Give the cases of a data set painted slices, as a user does in its table."""
    lines = cases_path(folder).read_text(encoding="utf-8").splitlines()
    painted = [f"{lines[0]},engine,labelled_slices,axis"]
    for seed, line in zip((5, 6, 7), lines[1:], strict=True):
        labels = images / f"ball{seed}.labels.nii.gz"
        painted.append(line.replace(f"ball{seed}.nii.gz,,", f"ball{seed}.nii.gz,{labels},") + ',propagate,"2,5,7",0')
    cases_path(folder).write_text("\n".join(painted), encoding="utf-8")


def test_a_case_whose_image_is_gone_does_not_keep_others_from_being_filled(
    images: Path, tmp_path: Path, controller: DatasetController
) -> None:
    folder = BatchFolder(tmp_path / "set")
    controller.open(folder.path)
    controller.add(images)
    settle(controller)
    list_painted(folder, images)
    gone = images / "ball6.nii.gz"
    gone.rename(tmp_path / "ball6.nii.gz")
    controller.fill()
    until(controller, lambda: not controller.filling.busy)
    settle(controller)
    assert (states(controller), controller.error) == (["filled", "failed", "filled"], None)
    assert controller.review is not None
    assert "no such file" in controller.review.cases[1].message
    for seed in (5, 7):
        (images / f"ball{seed}.nii.gz").rename(tmp_path / f"ball{seed}.nii.gz")
    controller.fill()
    until(controller, lambda: not controller.filling.busy)
    assert isinstance(controller.error, Message)
    assert controller.error.code == "manifest_row"
    settle(controller)
    assert states(controller) == ["filled", "failed", "filled"]


def test_painted_cases_are_filled_in_the_background_and_a_stop_keeps_what_is_done(
    images: Path, tmp_path: Path, controller: DatasetController
) -> None:
    folder = BatchFolder(tmp_path / "set")
    controller.open(folder.path)
    controller.add(images)
    settle(controller)
    list_painted(folder, images)
    controller.fill()
    until(controller, lambda: "filled" in states(controller))
    assert controller.filling.progress is not None
    assert (controller.filling.progress.total, controller.filling.busy) == (3, True)
    controller.stop_filling()
    until(controller, lambda: not controller.filling.busy)
    settle(controller)
    assert controller.error is None
    assert set(states(controller)) <= {"filled", "to do"}
    done = states(controller).count("filled")
    assert controller.review is not None
    first = controller.review.table.ranked[0].case.name
    controller.next()
    settle(controller)
    assert controller.review.current == first
    assert not controller.filling.busy, "the user stopped it"
    assert 1 <= done <= 3


def test_without_a_model_cases_are_painted_and_become_examples(
    images: Path, tmp_path: Path, controller: DatasetController
) -> None:
    controller.open(tmp_path / "set")
    controller.choose_task("new")
    controller.add(images)
    settle(controller)
    assert controller.added == AddedVolumes(3, listed=0, label_maps=3)
    assert states(controller) == ["to do"] * 3
    assert not controller.filling.busy
    controller.next()
    settle(controller)
    review = controller.review
    assert review is not None
    review.accept()
    with pytest.raises(InputError, match="review_unlabelled"):
        settle(controller)
    node = review.nodes.segmentation
    for segment in ball(5)[1].segments:
        node.GetSegmentation().AddEmptySegment("", segment.name)
    paint(controller, 5)
    image = review.nodes.volume
    slicer.mrmlScene.RemoveNode(image)
    with pytest.raises(InputError, match="review_image_removed"):
        review.accept()
    slicer.mrmlScene.AddNode(image)
    review.accept()
    settle(controller)
    assert states(controller) == ["accepted", "to do", "to do"]
    task = read_task(task_folder("new"))
    assert [segment.name for segment in task.segments] == ["Core", "Rim"]
    assert controller.overview.advice is not None
    assert (controller.overview.advice.examples, controller.overview.advice.worthwhile) == (1, False)
    controller.next()
    settle(controller)
    shown = review.nodes.segmentation.GetSegmentation()
    assert [shown.GetNthSegment(number).GetName() for number in range(2)] == ["Core", "Rim"]
    review.reset()
    settle(controller)
    review.show("ball5")
    settle(controller)
    review.reset()
    settle(controller)
    assert states(controller)[0] == "in review"
    assert read_task(task_folder("new")).examples == ()


def test_the_reason_why_a_process_ended_is_reported_and_the_next_one_can_be_started(
    images: Path, tmp_path: Path, controller: DatasetController
) -> None:
    with pytest.raises(InputError, match="no_batch_open"):
        controller.choose_task("new")
    with pytest.raises(InputError, match="dataset_no_task"):
        controller.train(1.0)
    controller.open(tmp_path / "set")
    controller.choose_task("new")
    settle(controller)
    controller.train(1.0)
    until(controller, lambda: not controller.training.busy)
    assert isinstance(controller.error, Message)
    assert controller.error.code == "task_without_examples"
    until(controller, lambda: not list((tmp_path / "home" / "background").glob("*/")))  # nothing is left behind


def test_no_file_is_read_while_the_data_set_is_idle(
    images: Path, tmp_path: Path, controller: DatasetController, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.open(tmp_path / "set")
    controller.add(images)
    settle(controller)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was read"))
    monkeypatch.setattr(Path, "stat", lambda *_, **__: pytest.fail("the status of a file was read"))
    for _ in range(5):
        controller.poll()
