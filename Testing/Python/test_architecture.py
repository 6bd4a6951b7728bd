"""The direction of the arrows between the rooms, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import PACKAGE_PARENT

PACKAGE = PACKAGE_PARENT / "FewShotAnnotateLib"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SLICER = {"slicer", "qt", "ctk", "vtk"}
AT_FILE_SCOPE = set(sys.stdlib_module_names) | {"numpy", "scipy", "SimpleITK", "slicer", "vtk"}
HEADLESS = {"cli", "demo", "progress", "suggestions", "dataset", "__main__"}
# Files that need torch; whoever uses one imports it when it is needed.
TORCH = {
    "engines/device.py",
    "engines/multiplanar.py",
    "engines/muon.py",
    "engines/network.py",
    "engines/pretrained/window.py",
    "engines/pretrained/networks/feature_maps.py",
    "engines/pretrained/networks/grounding_model.py",
    "engines/pretrained/networks/multiverseg_net.py",
    "engines/pretrained/networks/persam_model.py",
    "engines/pretrained/networks/sam2_model.py",
    "engines/pretrained/networks/sam_model.py",
    "engines/pretrained/networks/seggpt_model.py",
    "engines/pretrained/networks/universeg_net.py",
}
# Room -> rooms it may import. A file directly in the package is a room of its own.
ARROWS = {
    "__init__": set(),
    "core": {"core"},
    "engines": {"core", "engines"},
    "review": {"core", "review"},
    "export": {"core", "export"},
    "run": {"__init__", "core", "engines", "run"},
    "comparison": {"__init__", "core", "engines", "review", "run", "comparison"},
    **{
        room: {"__init__", "core", "engines", "review", "export", "run", "comparison", *HEADLESS} for room in HEADLESS
    },
    "host": {"__init__", "core", "engines", "review", "export", "run", "comparison", "dataset", "host"},
}


def room_of(source: Path) -> str:
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: Path) -> list[tuple[str, bool]]:
    """Absolute dotted names that a file imports, and whether at file scope (not only for types)."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    package = ["FewShotAnnotateLib", *source.relative_to(PACKAGE).parts[:-1]]
    inner = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)) or _types_only(scope)
        for node in ast.walk(scope)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(name, id(node) not in inner) for name in names]
    return found


def _types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def our_rooms(source: Path) -> set[str]:
    """Rooms of ours that a file imports."""
    rooms = set()
    for name, _ in imports(source):
        parts = name.split(".")
        if parts[0] == "FewShotAnnotateLib":
            is_room = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
            rooms.add(parts[1] if is_room else "__init__")
    return rooms


def test_the_tree_is_what_the_arrows_speak_of() -> None:
    assert {room_of(source) for source in SOURCES} <= set(ARROWS)
    assert {"core", "engines", "run", "review", "cli"} <= {room_of(source) for source in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(PACKAGE).as_posix())
def test_nothing_lower_imports_anything_higher(source: Path) -> None:
    assert our_rooms(source) <= ARROWS[room_of(source)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(PACKAGE).as_posix())
def test_only_the_host_knows_slicer_and_only_bundled_packages_are_imported_at_file_scope(source: Path) -> None:
    room = room_of(source)
    for name, at_file_scope in imports(source):
        package = name.split(".")[0]
        if package == "FewShotAnnotateLib":
            continue
        assert package not in SLICER or room == "host", name
        allowed = AT_FILE_SCOPE | ({"rich"} if room in ("cli", "progress") else set())
        allowed |= {"qt", "ctk", "SegmentEditorEffects"} if room == "host" else set()
        allowed |= {"torch"} if source.relative_to(PACKAGE).as_posix() in TORCH else set()
        assert package in allowed or not at_file_scope, name


def test_slicer_finds_exactly_one_module() -> None:
    assert [path.name for path in PACKAGE_PARENT.glob("*.py")] == ["FewShotAnnotate.py"]


def test_the_wrong_arrow_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = PACKAGE / "core" / "volume.py"
    lines = (
        "from ..run import folder",
        "from .. import cli",
        "def f():",
        " import torch, FewShotAnnotateLib.host.scene",
    )
    text = "\n".join(lines)
    monkeypatch.setattr(Path, "read_text", lambda self, **_: text)
    assert our_rooms(wrong) == {"run", "cli", "host"}
    assert ("torch", False) in imports(wrong)


@pytest.mark.parametrize(
    "module", ["core.files", "engines.propagate", "run.fill", "run.worker", "review.picture", "cli"]
)
def test_importing_brings_neither_torch_nor_slicer_nor_qt(module: str) -> None:
    code = f"import sys, FewShotAnnotateLib.{module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    environment = {"PYTHONPATH": str(PACKAGE_PARENT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "FewShotAnnotateLib" in loaded
    forbidden = {"torch", "slicer", "vtk", "qt", "ctk", "PySide6", "PyQt5", "PyQt6", "nilearn", "PIL"}
    assert not loaded & forbidden
    if module == "run.worker":
        assert "SimpleITK" not in loaded
        assert "rich" not in loaded
