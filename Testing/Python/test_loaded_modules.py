"""Which modules a new process loads: no more than a command, the library or a fit needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import PACKAGE_PARENT


def modules_after(code: str) -> set[str]:
    """Dotted names of the modules that a new process has loaded after some code."""
    lines = "import atexit, sys", "atexit.register(lambda: print(*sys.modules, file=sys.stderr))", code
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={"PYTHONPATH": str(PACKAGE_PARENT)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return set(result.stderr.split())


SLOW_TO_IMPORT = {"numpy", "scipy", "SimpleITK", "torch", "rich", "pydicom", "nibabel"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_nothing_that_is_slow(arguments: list[str]) -> None:
    loaded = modules_after(f"from fewshot_annotate.cli import main; main({arguments!r})")
    assert "fewshot_annotate.cli.program" in loaded
    assert not loaded & SLOW_TO_IMPORT


def test_the_list_of_models_names_the_device_without_torch(tmp_path: Path) -> None:
    code = f"import os; os.environ['FEWSHOT_ANNOTATE_HOME'] = {str(tmp_path)!r}"
    loaded = modules_after(f"{code}; from fewshot_annotate.cli import main; main(['models', 'list'])")
    assert "rich" in loaded
    assert not loaded & {"torch", "scipy.ndimage", "SimpleITK", "tqdm"}


def test_commands_load_scipy_rich_and_pydicom_only_when_they_need_them() -> None:
    commands = ("fill", "suggest", "compare", "batch", "library", "export", "demo", "models")
    code = (
        "import contextlib",
        "from fewshot_annotate.cli import main",
        f"for command in {commands}:",
        "    with contextlib.suppress(SystemExit):",
        "        main([command, '--help'])",
    )
    loaded = modules_after("\n".join(code))
    assert loaded >= {f"fewshot_annotate.cli.{command}" for command in commands}
    assert not loaded & {"scipy.ndimage", "scipy.optimize", "rich", "pydicom", "nibabel", "torch"}


def test_a_confidence_interval_loads_no_statistics_of_scipy() -> None:
    code = "from fewshot_annotate.evaluation.confidence_interval import confidence_interval_95"
    loaded = modules_after(f"{code}; confidence_interval_95(lambda drawn: drawn.mean(axis=1), 9, 100)")
    assert not loaded & {"scipy.stats", "scipy.optimize"}


# Runs a program as its users do; prints whether garbage was searched for while numpy was loaded, and is at the end.
WATCHED = """
import gc, runpy, sys, traceback
searched = []
def note(phase, info):
    searched.append(any("numpy" in filename for filename, *_ in traceback.extract_stack(sys._getframe())))
gc.callbacks.append(note)
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
except SystemExit:
    print("numpy" in sys.modules, any(searched), gc.isenabled())
"""


@pytest.mark.parametrize("program", ["cli", "jobs.worker", "datasets.filling_worker"])
def test_garbage_is_searched_for_only_once_a_program_is_loaded(program: str) -> None:
    arguments = ["library", "list"] if program == "cli" else ["no folder", "--host-pid", "1"]
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, f"fewshot_annotate.{program}", *arguments],
        env={"PYTHONPATH": str(PACKAGE_PARENT)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    assert result.stdout.split()[-3:] == ["True", "False", "True"]


@pytest.mark.parametrize(
    "module", ["io.files", "engines.propagate.engine", "jobs.filling", "jobs.worker", "guidance.contact_sheet", "cli"]
)
def test_importing_the_package_loads_neither_torch_nor_slicer_nor_qt(module: str) -> None:
    loaded = {name.split(".")[0] for name in modules_after(f"import fewshot_annotate.{module}")}
    assert "fewshot_annotate" in loaded
    forbidden = {"torch", "slicer", "vtk", "qt", "ctk", "PySide6", "PyQt5", "PyQt6", "nilearn", "PIL"}
    assert not loaded & forbidden
    if module == "jobs.worker":
        assert "SimpleITK" not in loaded
        assert "rich" not in loaded


def test_a_fit_does_not_load_the_compiler_of_torch() -> None:
    code = (
        "import numpy as np",
        "from fewshot_annotate.core.slice_axis import SliceAxis",
        "from fewshot_annotate.core.support import Support",
        "from fewshot_annotate.core.volume import Geometry, Volume",
        "from fewshot_annotate.engines.adapt.engine import Adapt",
        "masks = np.zeros((3, 24, 24), np.uint8)",
        "masks[:, 8:16, 8:16] = 1",
        "support = Support(SliceAxis(0), (0, 5, 10), masks, (1,), np.ones((3, 1), bool))",
        "engine = Adapt(options={'steps': 1})",
        "image = np.random.default_rng(0).random((11, 24, 24), np.float32)",
        "engine.prepare(Volume(image, Geometry(image.shape)), support)",
        "assert len(list(engine.predict(range(1, 10)))) == 9",
    )
    loaded = modules_after("\n".join(code))
    assert "torch.nn" in loaded
    assert not loaded & {"torch._dynamo", "torch._inductor", "sympy"}
