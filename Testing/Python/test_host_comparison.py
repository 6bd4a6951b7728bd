"""Comparison of engines on a scene: real MRML, real processes, real volumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import slicer
from support import slicer_standin

slicer_standin.install()

from fewshot_annotate.core.data_folder import HOME_VARIABLE  # noqa: E402
from fewshot_annotate.core.errors import InputError  # noqa: E402
from fewshot_annotate.core.events import Failed  # noqa: E402
from fewshot_annotate.core.job import Device  # noqa: E402
from fewshot_annotate.core.python_executable import python_executable  # noqa: E402
from fewshot_annotate.evaluation import summary  # noqa: E402
from fewshot_annotate.evaluation.comparison_folder import ComparisonFolder, ComparisonProcess  # noqa: E402
from fewshot_annotate.evaluation.design import TrialDesign  # noqa: E402
from fewshot_annotate.host.annotation.record import AnnotationRecord  # noqa: E402
from fewshot_annotate.host.annotation.record_store import write_record  # noqa: E402
from fewshot_annotate.host.comparison import controller as compare_module  # noqa: E402
from fewshot_annotate.host.comparison.controller import CompareController, CompareSettings, CompareState  # noqa: E402
from fewshot_annotate.host.comparison.nodes import ROLE_ATTRIBUTE, SIZES_COLUMN  # noqa: E402
from fewshot_annotate.host.fill.run_store import RunStore  # noqa: E402
from support import mrml, processes, scene_cases  # noqa: E402
from support.scene_cases import Gate, Runner, Scene, all_equal, case, scene_of  # noqa: E402
from support.unexpected_error import UnexpectedError  # noqa: E402

pytest_plugins = ("support.run_fixtures",)
QUICK = TrialDesign(sizes=(2,), draws=1, held_out=1)
ONE_ENGINE = CompareSettings(("propagate",), QUICK)
TWO_ENGINES = CompareSettings(("propagate", "stepwise"), TrialDesign(sizes=(1, 2), draws=1, held_out=1))
WAIT_SECONDS = 300.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="signals and processes of Linux")


class ComparisonRunner:
    """A comparison of engines on a scene, polled as by the panel's timer."""

    def __init__(self, scene: Scene, python: str) -> None:
        self.scene = scene
        self.controller = CompareController(slicer.mrmlScene, python)

    def start(self, settings: CompareSettings = TWO_ENGINES) -> CompareController:
        self.controller.start(self.scene.nodes, settings)
        return self.controller

    def until(self, reached: Callable[[], bool]) -> None:
        scene_cases.tick_until(self.controller, reached, WAIT_SECONDS)

    def to_end(self) -> CompareController:
        self.until(lambda: not self.controller.busy)
        return self.controller


def job_folders(temporary: Path) -> list[Path]:
    return list((temporary / "comparisons").glob("*"))


def worker_processes() -> list[psutil.Process]:
    """Worker processes of this process, and their workers."""
    return [child for child in psutil.Process().children(recursive=True) if "worker.py" in command_line(child)]


def command_line(process: psutil.Process) -> str:
    """Command line of a process; empty once it has ended, which it may at any time."""
    try:
        return " ".join(process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return ""


@pytest.fixture
def runner(
    tmp_path: Path, python_with_stepwise: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[ComparisonRunner]:
    temporary = tmp_path / "temporary"
    monkeypatch.setenv(HOME_VARIABLE, str(temporary))
    opened = ComparisonRunner(scene_of(case("ct_vertebrae")), python_with_stepwise)
    yield opened
    opened.controller.close()
    scene_cases.wait_for_none(lambda: [*job_folders(temporary), *scene_cases.threads(), *worker_processes()])
    scene_cases.require_quiet(capfd.readouterr())


def comparison_nodes(class_name: str) -> list[Any]:
    return [node for node in slicer.util.getNodesByClass(class_name) if node.GetAttribute(ROLE_ATTRIBUTE)]


@pytest.mark.slow
def test_a_comparison_becomes_a_table_a_plot_and_advice(runner: ComparisonRunner) -> None:
    before = runner.scene.arrays()
    runner.start()
    controller = runner.to_end()
    assert controller.state is CompareState.DONE, controller.message
    found = controller.summary
    assert found is not None
    assert found.sizes == (1, 2)
    assert set(found.engines) == {"propagate", "stepwise"}
    assert found.engine in found.engines
    assert str(found.reasons[0]).startswith("There is too little evidence")
    (table,) = comparison_nodes("vtkMRMLTableNode")
    columns = [table.GetTable().GetColumn(number) for number in range(table.GetNumberOfColumns())]
    assert [column.GetName() for column in columns] == [SIZES_COLUMN, *found.engines]
    for column in columns[1:]:
        expected = [found.at(column.GetName(), size).dice for size in found.sizes]
        assert [column.GetValue(row) for row in range(2)] == expected
    chart = controller.chart_node
    series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [(node.GetXColumnName(), node.GetYColumnName()) for node in series] == [
        (SIZES_COLUMN, engine) for engine in found.engines
    ]
    assert all(node.GetTableNode() is table for node in series)
    assert controller.report_path is not None
    text = controller.report_path.read_text(encoding="utf-8")
    assert "segment 1" in text
    assert runner.scene.volume_node.GetName() not in text.split("<style")[0]
    assert all_equal(runner.scene.arrays(), before)


def test_figures_equal_those_of_the_command_line(runner: ComparisonRunner, tmp_path: Path) -> None:
    from fewshot_annotate.evaluation.case import ComparisonCase
    from fewshot_annotate.evaluation.compare import compare
    from fewshot_annotate.evaluation.trials import EngineSettings

    runner.start(ONE_ENGINE)
    found = runner.to_end().summary
    assert found is not None
    scene = runner.scene
    labels = scene_cases.label_map_of(scene.painted(), scene.case.volume)
    comparison = ComparisonCase.from_label_maps(scene.case.volume, [labels], scene.axis, scene.labelled)
    by_command = compare(comparison, [EngineSettings("propagate")], QUICK, tmp_path / "command line")
    assert [point.by_label for point in found.points] == [point.by_label for point in by_command.points]


def test_a_second_comparison_is_shown_in_the_same_nodes(runner: ComparisonRunner) -> None:
    runner.start(ONE_ENGINE)
    chart = runner.to_end().chart_node
    runner.start(ONE_ENGINE)
    assert runner.to_end().chart_node is chart
    assert chart.GetNumberOfPlotSeriesNodes() == len(comparison_nodes("vtkMRMLPlotSeriesNode")) == 1
    assert len(comparison_nodes("vtkMRMLTableNode")) == len(comparison_nodes("vtkMRMLPlotChartNode")) == 1
    slicer.mrmlScene.RemoveNode(chart)
    assert runner.controller.chart_node is None


@pytest.mark.parametrize("left_out", ["locked", "hidden"])
def test_segments_and_slices_left_out_do_not_take_part(runner: ComparisonRunner, left_out: str) -> None:
    from fewshot_annotate.host.mrml.reading import set_locked

    scene = runner.scene
    if left_out == "locked":
        set_locked(scene.node.GetSegmentation().GetSegment(scene.ids[0]), True)
    else:
        scene.node.GetDisplayNode().SetSegmentVisibility(scene.ids[0], False)
    write_record(scene.node, AnnotationRecord().with_slice(scene.labelled[0], False))
    runner.start(CompareSettings(("propagate",), TrialDesign(draws=1, held_out=1)))
    found = runner.to_end().summary
    assert found is not None
    assert found.labels == (scene.ids[1],)
    other_mask = scene.axis.slices(scene.case.masks[scene.ids[1]])
    painted = [index for index in scene.labelled[1:] if other_mask[index].any()]
    assert found.sizes[-1] == len(painted) - 1  # one is held out


def test_a_corrected_slice_takes_part_while_a_segment_of_the_last_run_is_locked(
    runner: ComparisonRunner, reusing_python: str
) -> None:
    from fewshot_annotate.host.mrml.reading import set_locked

    scene, (locked, other) = runner.scene, runner.scene.ids
    filling = Runner(scene, reusing_python)
    filling.fill()
    filling.controller.close()
    corrected, mask = scene.between[1], scene.array(other)
    scene.axis.slices(mask)[corrected, :4, :4] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, other, scene.volume_node)
    set_locked(scene.node.GetSegmentation().GetSegment(locked), True)
    runner.start(CompareSettings(("propagate",), TrialDesign(draws=1, held_out=1)))
    found = runner.to_end().summary
    assert found is not None
    assert found.labels == (other,)
    assert found.sizes[-1] == len({*scene.labelled, corrected}) - 1  # one is held out


def test_engines_can_be_compared_on_a_fully_labelled_volume(runner: ComparisonRunner) -> None:
    scene = runner.scene
    count = scene.axis.count(scene.case.volume.geometry)
    record = AnnotationRecord(scene.axis.index, dict.fromkeys(scene.ids, True))
    for index in range(count):
        record = record.with_slice(index, True)
    write_record(scene.node, record)
    for name, mask in scene.case.masks.items():
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, name, scene.volume_node)
    runner.start(CompareSettings(("propagate",), TrialDesign(sizes=(16,), draws=1, held_out=1)))
    controller = runner.to_end()
    assert controller.state is CompareState.DONE, controller.message
    assert controller.summary is not None
    assert controller.summary.sizes == (16,) > (len(scene.labelled),)


def test_input_that_cannot_be_compared_is_refused_in_one_line(runner: ComparisonRunner) -> None:
    scene = runner.scene
    slicer.mrmlScene.RemoveNode(scene.node)
    scene.node = mrml.add_segmentation(scene.volume_node, {})
    runner.start(ONE_ENGINE)
    controller = runner.to_end()
    assert controller.state is CompareState.FAILED
    assert controller.error is not None
    assert controller.error.code == "no_labelled_slice"
    mask = np.zeros(scene.case.volume.geometry.shape, dtype=bool)
    mask[scene.labelled[0]] = scene.case.masks[scene.ids[0]][scene.labelled[0]]
    scene.node = mrml.add_segmentation(scene.volume_node, {"a": mask})
    runner.start(ONE_ENGINE)
    controller = runner.to_end()
    assert controller.message.startswith("Comparing needs at least two slices that show a label, and found 1")
    assert controller.summary is None


def test_an_engine_that_cannot_use_the_device_is_refused_before_anything_starts(runner: ComparisonRunner) -> None:
    runner.controller = CompareController(slicer.mrmlScene, python_executable(), lambda engine: Device.CUDA)
    with pytest.raises(InputError, match="cannot use device 'cuda'"):
        runner.start(ONE_ENGINE)
    assert runner.controller.state is CompareState.IDLE
    runner.controller.close()


def test_folders_of_comparisons_are_private_and_those_of_a_crashed_application_are_deleted(
    runner: ComparisonRunner, tmp_path: Path
) -> None:
    leftover = RunStore(tmp_path / "temporary" / "comparisons").create()
    (leftover.path / "image.npy").write_bytes(b"a patient's image")
    leftover.release()  # as the system does at the end of a process
    runner.start(ONE_ENGINE)
    (own,) = (path for path in job_folders(tmp_path / "temporary") if path.is_dir() and path != leftover.path)
    assert os.name == "nt" or own.stat().st_mode & 0o077 == 0
    runner.until(lambda: not leftover.path.exists())
    assert own.is_dir()


def test_nodes_may_be_deleted_while_a_comparison_runs(runner: ComparisonRunner) -> None:
    runner.start(ONE_ENGINE)
    slicer.mrmlScene.RemoveNode(runner.scene.node)
    slicer.mrmlScene.RemoveNode(runner.scene.volume_node)
    assert runner.to_end().state is CompareState.DONE


@linux
def test_cancel_ends_all_processes_and_leaves_nothing(runner: ComparisonRunner, tmp_path: Path, gate: Gate) -> None:
    controller = runner.start()
    runner.until(lambda: len(worker_processes()) >= 2)
    controller.cancel()
    assert controller.state is CompareState.CANCELLED
    scene_cases.wait_for_none(lambda: [*worker_processes(), *job_folders(tmp_path / "temporary")], 5)
    gate.open()
    runner.start(ONE_ENGINE)
    assert runner.to_end().state is CompareState.DONE


@linux
def test_a_killed_comparison_is_reported_in_a_sentence_and_its_trial_ends_too(
    runner: ComparisonRunner, gate: Gate
) -> None:
    controller = runner.start()
    runner.until(lambda: len(worker_processes()) >= 2)
    (worker,) = (child for child in psutil.Process().children() if "comparison" in command_line(child))
    os.kill(worker.pid, signal.SIGKILL)
    runner.to_end()
    assert controller.state is CompareState.FAILED
    assert controller.message.startswith("The worker process was ended from outside, often because memory ran out;")
    gate.open()


@linux
def test_the_worker_ends_when_its_host_has_exited(runner: ComparisonRunner, tmp_path: Path, gate: Gate) -> None:
    runner.start()
    runner.until(lambda: len(worker_processes()) >= 2)
    assert runner.controller.folder is not None
    copy = ComparisonFolder(tmp_path / "copy")
    subprocess.run(["cp", "-r", runner.controller.folder.path, copy.path], check=True)
    runner.controller.cancel()
    host = (
        "import sys, time; from pathlib import Path\n"
        "from fewshot_annotate.evaluation.comparison_folder import ComparisonFolder\n"
        "from fewshot_annotate.evaluation.comparison_folder import ComparisonProcess\n"
        "process = ComparisonProcess(ComparisonFolder(Path(sys.argv[1])), sys.argv[2])\n"
        "process.start(); print(process.pid, flush=True); time.sleep(100)\n"
    )
    (copy.path / "events.jsonl").unlink()
    command = [sys.executable, "-c", host, str(copy.path), runner.controller.python]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.environ["PYTHONPATH"]])}
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert program.stdout is not None
    with program.stdout:
        worker = psutil.Process(int(program.stdout.readline()))
    processes.wait_for(lambda: bool(worker.children()))
    trial = worker.children()[0]
    program.kill()
    program.wait()
    psutil.wait_procs([worker, trial], timeout=scene_cases.WAIT_SECONDS)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert not trial.is_running() or trial.status() == psutil.STATUS_ZOMBIE
    gate.open()


def test_a_damaged_folder_or_result_is_reported_in_one_line(tmp_path: Path) -> None:
    folder = ComparisonFolder(tmp_path)
    (tmp_path / "request.json").write_text("{", encoding="ascii")
    process = ComparisonProcess(folder)
    process.start()
    while process.running:
        process.poll()
        time.sleep(0.01)
    assert isinstance(process.ending, Failed)
    assert process.ending.code == "job_folder_unreadable"
    folder.result_path.write_text('{"points": []}', encoding="ascii")
    with pytest.raises(InputError, match="the result is damaged"):
        summary.read_summary(folder.result_path)


@pytest.mark.parametrize("kind", [UnexpectedError, KeyError, MemoryError])
@pytest.mark.parametrize("step", ["prepare_comparison", "ComparisonProcess"])
def test_an_unexpected_error_fails_the_comparison_once(
    step: str, kind: type[Exception], runner: ComparisonRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Any:
        raise kind("Doe^Jane")

    before = runner.scene.arrays()
    with monkeypatch.context() as patch:
        patch.setattr(compare_module, step, failing)
        controller = runner.start(ONE_ENGINE)
        runner.to_end()
        message = controller.message
        for _ in range(5):
            controller.poll()
    assert controller.state is CompareState.FAILED
    assert controller.message == message
    assert message
    assert "Doe" not in message
    assert all_equal(runner.scene.arrays(), before)
