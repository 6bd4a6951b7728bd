"""Which parts of the package may import which, how long files are and how names are chosen, read from the sources."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TypeGuard

import pytest
from fewshot_annotate.engines.registry import ENGINES
from support.processes import PACKAGE_PARENT
from support.syntax_trees import statements, tree_of

PACKAGE = PACKAGE_PARENT / "fewshot_annotate"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTING = Path(__file__).parents[1]
SLICER = {"slicer", "qt", "ctk", "vtk"}
AT_FILE_SCOPE = set(sys.stdlib_module_names) | {"numpy", "scipy", "SimpleITK", "slicer", "vtk"}
# Files that import torch at file scope; others import these files inside functions.
TORCH = {
    "engines/device.py",
    "engines/networks/adamw.py",
    "engines/adapt/batches.py",
    "engines/adapt/fitting.py",
    "engines/networks/group_norm.py",
    "engines/adapt/initial_weights.py",
    "engines/networks/muon.py",
    "engines/adapt/network.py",
    "engines/adapt/orthogonal_views.py",
    "engines/adapt/stack.py",
    "engines/in_context/window.py",
    "engines/in_context/feature_maps.py",
    "engines/grounding_dino/network.py",
    "engines/in_context/multiverseg_network.py",
    "engines/specialist/augmentation.py",
    "engines/specialist/ensemble_training.py",
    "engines/specialist/evaluation.py",
    "engines/specialist/inference.py",
    "engines/specialist/fine_tuning.py",
    "engines/specialist/member_training.py",
    "engines/specialist/network.py",
    "engines/sam/persam_network.py",
    "engines/nninteractive/network.py",
    "engines/sam2/network.py",
    "engines/sam/network.py",
    "engines/in_context/seggpt_network.py",
    "engines/in_context/universeg_network.py",
}
# Part of the package -> parts it may import. A part is a folder, or a file directly in the package.
ALLOWED_IMPORTS = {
    "__init__": {"api", "core", "messages"},  # `api` only when it is used
    "core": {"core"},
    "io": {"core", "io"},
    "weights": {"core", "io", "weights"},
    "engines": {"core", "io", "weights", "engines"},
    "guidance": {"core", "io", "guidance"},
    "export": {"core", "io", "export"},
    "jobs": {"__init__", "core", "io", "engines", "weights", "guidance", "jobs"},
}
_LOWER = {*ALLOWED_IMPORTS, "evaluation", "datasets"}
ALLOWED_IMPORTS |= {
    "evaluation": {*ALLOWED_IMPORTS, "evaluation"} - {"export"},
    "datasets": {*ALLOWED_IMPORTS, "datasets"} - {"export"},
    "api": {*_LOWER, "api"},
    "messages": {"core", "messages"},
    "cli": {*_LOWER, "cli", "messages"},
    "host": {*_LOWER, "host", "messages"},
}


def part_of(source: Path) -> str:
    """Part of the package that a file belongs to."""
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(source: Path) -> str:
    """Path of a file below the package."""
    return source.relative_to(PACKAGE).as_posix()


def imports(source: Path, for_types: bool = True) -> list[tuple[str, bool]]:
    """Absolute dotted names that a file imports, also those only `for_types`; and whether at file scope."""
    tree = tree_of(source)
    package = ["fewshot_annotate", *source.relative_to(PACKAGE).parts[:-1]]
    functions = [scope for scope in statements(tree) if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef)]
    of_types = {inner for scope in statements(tree) if _types_only(scope) for inner in statements(scope)}
    inner = of_types.union(*map(statements, functions))
    found = []
    for statement in statements(tree):
        if statement in of_types and not for_types:
            continue
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            base = package[: len(package) - statement.level + 1] if statement.level else []
            stem = ".".join([*base, *([statement.module] if statement.module else [])])
            names = [f"{stem}.{alias.name}" for alias in statement.names]
        else:
            continue
        found += [(name, statement not in inner) for name in names]
    return found


def _types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported_parts(source: Path) -> set[str]:
    """Parts of the package that a file imports."""
    found = set()
    for name, _ in imports(source):
        parts = name.split(".")
        if parts[0] == "fewshot_annotate":
            is_part = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
            found.add(parts[1] if is_part else "__init__")
    return found


def test_every_part_of_the_package_has_its_allowed_imports() -> None:
    assert {part_of(source) for source in SOURCES} <= set(ALLOWED_IMPORTS)
    assert {"core", "io", "engines", "jobs", "guidance", "cli", "host"} <= {part_of(source) for source in SOURCES}


def test_nothing_lower_imports_anything_higher() -> None:
    wrong = {name_of(source): imported_parts(source) - ALLOWED_IMPORTS[part_of(source)] for source in SOURCES}
    assert {name: parts for name, parts in wrong.items() if parts} == {}


# Folders of `host`; each may import those before it. `panel` and `effect` are both made of widgets.
HOST_FOLDERS = (
    {"sentences"},
    {"diagnostics"},
    {"mrml"},
    {"annotation"},
    {"engines"},
    {"fill"},
    {"review"},
    {"comparison"},
    {"datasets"},
    {"export"},
    {"panel", "effect"},
    {"self_test"},
)
# Files of `host` that belong to no folder; `module_logic` makes the controllers of all folders.
HOST_FILES = {"__init__", "i18n", "messages", "module_logic", "settings", "tasks"}


def test_each_folder_of_the_host_imports_only_those_before_it() -> None:
    folder_of = {
        source: source.relative_to(PACKAGE).parts[1].removesuffix(".py")
        for source in SOURCES
        if part_of(source) == "host"
    }
    allowed = HOST_FILES - {"module_logic"}
    assert set(folder_of.values()) == HOST_FILES.union(*HOST_FOLDERS)
    for folders in HOST_FOLDERS:
        allowed |= folders
        for source in (source for source, folder in folder_of.items() if folder in folders):
            names = (name.split(".") for name, _ in imports(source))
            imported = {parts[2] for parts in names if parts[:2] == ["fewshot_annotate", "host"]}
            assert imported <= allowed, name_of(source)


def test_tasks_do_not_depend_on_the_batches_that_use_them() -> None:
    tasks = (source for source in SOURCES if name_of(source).startswith("datasets/task/"))
    imported = {name for source in tasks for name, _ in imports(source)}
    of_datasets = {name for name in imported if name.startswith("fewshot_annotate.datasets.")}
    assert of_datasets
    assert {name for name in of_datasets if not name.startswith("fewshot_annotate.datasets.task.")} == set()


def forbidden_packages(source: Path) -> list[str]:
    """Packages that a file must not import: Slicer's outside `host`; at file scope, those not bundled with Slicer."""
    part, found = part_of(source), []
    allowed = AT_FILE_SCOPE | {
        *({"rich"} if part == "cli" else ()),
        *({"qt", "ctk", "SegmentEditorEffects"} if part == "host" else ()),
        *({"torch"} if name_of(source) in TORCH else ()),
    }
    for name, at_file_scope in imports(source):
        package = name.split(".")[0]
        if package == "fewshot_annotate":
            continue
        if (package in SLICER and part != "host") or (at_file_scope and package not in allowed):
            found.append(package)
    return found


def test_only_the_host_imports_slicer_and_only_bundled_packages_are_imported_at_file_scope() -> None:
    wrong = {name_of(source): forbidden_packages(source) for source in SOURCES}
    assert {name: packages for name, packages in wrong.items() if packages} == {}


MAX_LINES = 340
# Shorter files that serve one other file belong into that one.
MIN_LINES = 35
# Names that do not say what they hold.
VAGUE_NAMES = frozenset(
    (
        "known",
        "look",
        "looks",
        "one",
        "own",
        "part",
        "parts",
        "place",
        "places",
        "stuff",
        "thing",
        "told",
        "whole",
        "words",
    )
)


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Names of variables, parameters, attributes and functions that code defines, without leading underscores."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg.strip("_")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id.strip("_").lower()
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr.strip("_").lower()
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name.strip("_").lower()


def test_files_are_short() -> None:
    lines = {name_of(source): len(source.read_bytes().splitlines()) for source in SOURCES}
    assert sorted(name for name, count in lines.items() if count > MAX_LINES) == []


def users_of_modules() -> dict[str, set[str]]:
    """Files that import each module of the package."""
    modules = {f"fewshot_annotate.{name_of(source)[:-3].replace('/', '.')}": name_of(source) for source in SOURCES}
    users: dict[str, set[str]] = {name: set() for name in modules.values()}
    for source in SOURCES:
        for imported, _ in imports(source):
            for module in (imported, imported.rpartition(".")[0]):
                if module in modules:
                    users[modules[module]].add(name_of(source))
    return users


def test_short_files_serve_several_others() -> None:
    """Except engines, which the registry names, and files that Python or Slicer starts."""
    users = users_of_modules()
    started = {"__init__", "__main__", "worker", "RegisteredLateEffect"}
    engines = {f"engines/{module.replace('.', '/')}.py" for module, _ in ENGINES.values()}
    short = {
        name_of(source)
        for source in SOURCES
        if len(source.read_bytes().splitlines()) < MIN_LINES and source.stem not in started
    }
    assert len(short) > 10
    assert [name for name in sorted(short - engines) if len(users[name]) < 2] == []


def test_no_modules_import_each_other_when_they_run() -> None:
    """Neither at file scope nor inside functions; a package's own file may be imported from within the package."""
    modules = {f"fewshot_annotate.{name_of(source)[:-3].replace('/', '.')}": source for source in SOURCES}
    imported_by = {}
    for module, source in modules.items():
        names = {name for name, _ in imports(source, for_types=False)}
        imported_by[module] = (names | {name.rpartition(".")[0] for name in names}) & set(modules)
    assert sum(map(len, imported_by.values())) > 1000
    TopologicalSorter(imported_by).prepare()  # raises an error that names the circle


def test_no_variable_or_function_has_a_vague_name() -> None:
    vague = []
    for source in SOURCES:
        vague += [(name_of(source), word) for word in bound_names(tree_of(source)) if word in VAGUE_NAMES]
    assert vague == []


def test_slicer_finds_exactly_one_module() -> None:
    assert [path.name for path in PACKAGE_PARENT.glob("*.py")] == ["FewShotAnnotate.py"]


def test_a_forbidden_import_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = PACKAGE / "core" / "volume.py"
    lines = (
        "from ..jobs import run_folder",
        "from .. import cli",
        "def f():",
        " import torch, fewshot_annotate.host.mrml.reading",
    )
    text = "\n".join(lines)
    monkeypatch.setattr(Path, "read_text", lambda self, **_: text)
    assert imported_parts(wrong) == {"jobs", "cli", "host"}
    assert ("torch", False) in imports(wrong)
    text = "import qt, torch"
    assert forbidden_packages(wrong) == ["qt", "torch"]


# Private names of other packages for which these have no public one.
FOREIGN_PRIVATE_NAMES = {
    "os._exit",
    "atexit._run_exitfuncs",
    "attention._separate_heads",  # of the SAM authors' decoder
    "attention._recombine_heads",
}


def private_names(tree: ast.Module) -> set[str]:
    """Private names of other objects that a test uses, as attributes or as strings to patch."""
    nodes = list(ast.walk(tree))
    bound = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {node.attr for node in nodes if _is_attribute_of_self(node)}
    found = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and not _is_attribute_of_self(node):
            if _is_private(node.attr) and node.attr not in bound:
                found.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if _is_private(alias.name)}
        elif isinstance(node, ast.Call) and _last_name(node.func).endswith("attr") and len(node.args) > 1:
            name = node.args[1]
            if isinstance(name, ast.Constant) and _is_private(str(name.value)) and name.value not in bound:
                found.add(f"{ast.unparse(node.args[0])}.{name.value}")
            target = node.args[0]
            if isinstance(target, ast.Constant) and any(map(_is_private, str(target.value).split("."))):
                found.add(str(target.value))
    return found - FOREIGN_PRIVATE_NAMES


def _is_attribute_of_self(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def _last_name(node: ast.expr) -> str:
    """The name after the last dot of a dotted name; empty for other expressions."""
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_tests_use_public_names_only() -> None:
    tests = (path for path in TESTING.rglob("*.py"))
    found = {path.relative_to(TESTING).as_posix(): private_names(tree_of(path)) for path in tests}
    assert {name: names for name, names in found.items() if names} == {}


def test_a_private_name_is_detected() -> None:
    lines = (
        "from package import _hidden",
        "monkeypatch.setattr(module, '_patched', None)",
        "monkeypatch.setattr('package.module._LIMIT', 1)",
        "panel.widget._timer",
        "self._mine",
        "other._mine",
        "os._exit(0)",
    )
    assert private_names(ast.parse("\n".join(lines))) == {
        "_hidden",
        "module._patched",
        "package.module._LIMIT",
        "panel.widget._timer",
    }


def test_slicer_starts_without_panel_engines_and_numerical_packages() -> None:
    code = (PACKAGE.parent / "FewShotAnnotate.py").read_text(encoding="utf-8")
    waiting = [node.module or "" for node in ast.parse(code).body if isinstance(node, ast.ImportFrom)]
    waiting.append("fewshot_annotate.host.effect.few_shot_fill.FewShotFillEffect")
    loaded: set[str] = set()
    while waiting:
        name = waiting.pop()
        source = PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py")
        if not source.is_file():
            source = source.with_suffix("") / "__init__.py"
        if name not in loaded and name.startswith("fewshot_annotate") and source.is_file():
            waiting += (found.rpartition(".")[0] for found, at_file_scope in imports(source) if at_file_scope)
        loaded.add(name)
    assert not {name.split(".")[0] for name in loaded} & {"numpy", "scipy", "SimpleITK"}
    assert not {name.split(".")[1] for name in loaded if name.startswith("fewshot_annotate.")} - {
        *("core", "host", "messages"),
    }
    assert len([name for name in loaded if name.startswith("fewshot_annotate")]) < 25


def _classes(sources: Iterable[Path] = SOURCES) -> list[tuple[Path, ast.ClassDef]]:
    pairs = ((source, statement) for source in sources for statement in statements(tree_of(source)))
    return [(source, statement) for source, statement in pairs if isinstance(statement, ast.ClassDef)]


def test_no_public_class_name_is_used_twice() -> None:
    names = Counter(node.name for _, node in _classes() if not node.name.startswith("_"))
    assert [name for name, count in names.items() if count > 1] == []


def test_dataclasses_with_six_or_more_fields_are_keyword_only() -> None:
    positional = []
    for source, node in _classes([*SOURCES, *TESTING.rglob("*.py")]):
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        fields = [
            statement
            for statement in node.body
            if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement)
        ]
        is_dataclass = any(text.partition("(")[0] in ("dataclass", "dataclasses.dataclass") for text in decorators)
        if is_dataclass and len(fields) >= 6 and not any("kw_only=True" in text for text in decorators):
            positional.append(f"{source.relative_to(TESTING.parent).as_posix()}: {node.name}")
    assert positional == []


def test_types_are_checked_strictly_except_where_slicer_has_none() -> None:
    settings = tomllib.loads((PACKAGE_PARENT.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert settings["strict"]
    strict = {"strict", "ignore_errors", "warn_return_any", "disallow_subclassing_any", "disallow_untyped_defs"}
    excepted = [rule for rule in settings["overrides"] if strict & set(rule)]
    for name in (name for rule in excepted for name in rule["module"]):
        source = PACKAGE_PARENT / f"{name.replace('.', '/')}.py"
        packages = {imported.split(".")[0] for imported, _ in imports(source)}
        assert packages & (SLICER | {"SegmentEditorEffects"}), name


# Parameters of the host that hold objects of MRML.
MRML_PARAMETERS = {"scene", "segmentation_node", "volume_node", "parameter_node"}


def test_nodes_are_typed_by_what_is_used_of_them() -> None:
    """Slicer's classes have no annotations, so that without `host/mrml/node_types.py` they would be of any type."""
    functions = (
        (source, statement)
        for source in SOURCES
        for statement in statements(tree_of(source))
        if isinstance(statement, ast.FunctionDef)
    )
    untyped = [
        f"{name_of(source)}: {function.name}({argument.arg})"
        for source, function in functions
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if argument.arg in MRML_PARAMETERS
        and argument.annotation is not None
        and ast.unparse(argument.annotation) == "Any"
    ]
    assert untyped == []
