"""Every name that a file imports from the package exists, also in files and strings that no type checker reads."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import fewshot_annotate
import pytest
from support.processes import PACKAGE_PARENT
from support.syntax_trees import tree_of

REPOSITORY = PACKAGE_PARENT.parent
SOURCES = [
    source
    for folder in (PACKAGE_PARENT, REPOSITORY / "Testing")
    for source in sorted(folder.rglob("*.py"))
    if source != Path(__file__)  # whose strings name what does not exist
]
# Code that is given to another Python as a string.
IN_STRINGS = re.compile(r"from (fewshot_annotate[\w.]*) import ([\w, ]+)")


@cache
def defined(module: str) -> frozenset[str]:
    """Names that a module of the package, given by its dotted name, defines; empty if there is no such module."""
    path = PACKAGE_PARENT.joinpath(*module.split("."))
    names = set()
    if path.is_dir():
        names = {entry.stem for entry in path.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").is_file()}
        path = path / "__init__"
    if not path.with_suffix(".py").is_file():
        return frozenset(names)
    for node in ast.walk(tree_of(path.with_suffix(".py"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    if module == "fewshot_annotate":
        names |= set(dir(fewshot_annotate))  # created when they are first used
    return frozenset(names)


def imported(source: Path) -> set[tuple[str, str]]:
    """(module, name) of all that a file imports from the package."""
    package = source.relative_to(PACKAGE_PARENT).parts[:-1] if source.is_relative_to(PACKAGE_PARENT) else ()
    found = set()
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            if module.split(".")[0] == "fewshot_annotate":
                found |= {(module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module, names in IN_STRINGS.findall(node.value):
                found |= {(module, name.split(" as ")[0].strip()) for name in names.split(",") if name.strip()}
    return found


def test_every_imported_name_is_defined() -> None:
    missing = {
        f"{source.relative_to(REPOSITORY)}: {module}.{name}"
        for source in SOURCES
        for module, name in imported(source)
        if name not in defined(module)
    }
    assert not missing


@pytest.mark.parametrize(
    "line",
    [
        "from fewshot_annotate.core.errors import NoSuchError",
        "from fewshot_annotate.no_such_module import main",
        "CODE = 'import sys; from fewshot_annotate.cli import no_such_name; print(1)'",
    ],
)
def test_a_name_that_does_not_exist_is_detected(line: str, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(line)
    ((module, name),) = imported(tmp_path / "user.py")
    assert name not in defined(module)
