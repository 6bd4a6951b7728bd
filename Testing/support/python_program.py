"""Stand-ins for the Python interpreter, which prepare something before they run a script."""

from __future__ import annotations

import sys
from pathlib import Path

import fewshot_annotate


def python_program(program: Path, *prelude: str) -> str:
    """Write a program that runs these lines of code, then a script as Python does; returns its path."""
    folders = [str(Path(fewshot_annotate.__file__).parents[1]), str(Path(__file__).parents[1])]
    lines = [
        f"#!{sys.executable}",
        "import runpy, sys",
        f"sys.path[:0] = {folders!r}",
        *prelude,
        "del sys.argv[0]",
        "runpy.run_path(sys.argv[0], run_name='__main__')",
    ]
    program.write_text("\n".join([*lines, ""]), encoding="utf-8")
    program.chmod(0o755)
    return str(program)
