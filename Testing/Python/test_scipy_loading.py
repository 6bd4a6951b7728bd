"""Loading of scipy in programs: without what nobody reads there, and without a trace in other modules."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
from fewshot_annotate.core.scipy_loading import load_scipy
from support.processes import PACKAGE_PARENT

WATCHED = """
import inspect, sys
parsed = []
getdoc = inspect.getdoc
inspect.getdoc = lambda function: parsed.append(function.__name__) or getdoc(function)
import {module}
print(len(parsed), sorted({{"scipy.ndimage", "numpy.f2py", "numpy.testing"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize("module", ["worker", "live_worker"])
def test_a_worker_parses_no_documentation_and_loads_no_tools_of_developers(module: str) -> None:
    program = WATCHED.format(module=f"fewshot_annotate.jobs.{module}")
    result = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(PACKAGE_PARENT)}, stdout=subprocess.PIPE, check=True
    )
    assert result.stdout.decode().split(maxsplit=1) == ["0", "['scipy.ndimage']\n"]


@pytest.mark.parametrize("outcome", ["loaded", "not installed"])
def test_other_modules_are_as_before(outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inspect.getdoc, np.__all__, dir(np)
    if outcome == "loaded":
        load_scipy()
    else:
        monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
        with pytest.raises(ImportError):
            load_scipy()
    assert (inspect.getdoc, np.__all__, dir(np)) == before
    assert np.testing.assert_allclose.__doc__
