"""Checks of the reviewers and scripts of Slicer's extensions index, made on this repository.

Prints one line for each violation and ends with exit code 1, or with 0 if there is none. What can be checked only
online is left to the index: that addresses answer, and the repository's topic `3d-slicer-extension`.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

SCHEMA = re.compile(
    r"https://raw\.githubusercontent\.com/Slicer/Slicer/main/Schemas/"
    r"slicer-extension-catalog-entry-schema-v\d+\.\d+\.\d+\.json#?"
)
# The keys of that schema and their types; the first three are required.
REQUIRED = {"$schema": str, "category": str, "scm_url": str}
KEYS = {
    **REQUIRED,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
CATEGORY = "Segmentation"
CHECKOUT_BYTES = 100 * 1024**2
PICTURE_BYTES = 2 * 1024**2
ICON_PIXELS = 128
SCREENSHOT_PIXELS = 400
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENCE", "License.txt", "COPYING")
MODULE = "FewShotAnnotate"
OWN = "fewshot_annotate"
# Imports allowed at file scope of files that Slicer imports when it starts.
ALLOWED = {*sys.stdlib_module_names, "numpy", "scipy", "SimpleITK", "vtk", "slicer", "qt", "ctk", OWN}
ALLOWED |= {"SegmentEditorEffects"}  # Slicer's own module of scripted effects
# Imports allowed at file scope of all other files.
ALLOWED_LATER = ALLOWED | {"torch", "rich"}
_INSTALLERS = {"pip_install", "pip_ensure", "installTorch", "urlopen", "urlretrieve", "download"}
# What Slicer imports when it starts and when its user first opens the panel; the rest follows from these files.
_ON_START = (
    f"{MODULE}.py",
    f"{OWN}/host/effect/few_shot_fill/FewShotFillEffect.py",
    f"{OWN}/host/module_logic.py",
    f"{OWN}/host/panel/module_panel.py",
)


def findings(root: Path) -> list[str]:
    """Findings about a checkout, a line each.

    Parameters
    ----------
    root : folder of the checkout
    """
    return [f"{name}: {finding}" for name, check in CHECKS.items() for finding in check(root)]


def _description(root: Path) -> Iterator[str]:
    path = root / "Resources" / f"{MODULE}.json"
    if not path.is_file():
        yield f"{path.name} is missing in Resources"
        return
    raw = path.read_bytes()
    if b"\r" in raw or b"\t" in raw or not raw.endswith(b"}\n"):
        yield "a line has a tab, or does not end with a single line feed"
    try:
        data = json.loads(raw)
    except ValueError as error:
        yield f"{path.name} is not JSON: {error}"
        return
    yield from (f"{key} is missing" for key in REQUIRED if key not in data)
    yield from (f"{key} is not a key of the schema" for key in data if key not in KEYS)
    yield from (f"{k} is not a {t.__name__}" for k, t in KEYS.items() if k in data and not isinstance(data[k], t))
    if not SCHEMA.fullmatch(str(data.get("$schema"))):
        yield "$schema is not a published schema of catalog entries"
    if data.get("category") != CATEGORY:
        yield f"category is not {CATEGORY}, which is that of the module"
    if data.get("tier") not in (1, 3, 5):
        yield "tier is not 1, 3 or 5"
    address = urlsplit(str(data.get("scm_url")))
    if address.scheme not in ("https", "git") or not Path(address.path).stem.startswith("Slicer"):
        yield "scm_url is not the https address of a repository whose name starts with Slicer"
    if data.get("scm_url") != _set_in_cmake(root, "HOMEPAGE"):
        yield "scm_url and EXTENSION_HOMEPAGE differ"
    if data.get("build_dependencies", []) != (_set_in_cmake(root, "DEPENDS") or "").split():
        yield "build_dependencies and EXTENSION_DEPENDS differ"


def _cmake(root: Path) -> Iterator[str]:
    name = _name(root)
    if name != MODULE or name.lower().startswith("slicer"):
        yield "project() does not name the extension, or the name begins with Slicer"
    for key in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"):
        value = _set_in_cmake(root, key)
        if not value:
            yield f'EXTENSION_{key} is not set in one line to a literal "..."'
        elif key.endswith(("PAGE", "URL", "URLS")) and not all(one.startswith("https://") for one in value.split()):
            yield f"EXTENSION_{key} is not an https address"
    if len(_set_in_cmake(root, "DESCRIPTION") or "") < 40:
        yield "EXTENSION_DESCRIPTION is not a sentence that states the purpose of the extension"


def _pictures(root: Path) -> Iterator[str]:
    for key in ("ICONURL", "SCREENSHOTURLS"):
        for address in (_set_in_cmake(root, key) or "").split():
            parsed = urlsplit(address)
            path = root / parsed.path.partition("/main/")[2]
            if parsed.netloc != "raw.githubusercontent.com" or path.suffix != ".png" or not path.is_file():
                yield f"EXTENSION_{key} is not the raw address of a PNG file of this repository: {address}"
                continue
            width, height = png_size(path)
            if key == "ICONURL" and (width, height) != (ICON_PIXELS, ICON_PIXELS):
                yield f"{path.name}: an icon has {ICON_PIXELS} x {ICON_PIXELS} pixels, not {width} x {height}"
            if key == "SCREENSHOTURLS" and min(width, height) < SCREENSHOT_PIXELS:
                yield f"{path.name}: too small for a screenshot ({width} x {height})"
            if path.stat().st_size > PICTURE_BYTES:
                yield f"{path.name}: too large to be shown in a catalog"


def _licence(root: Path) -> Iterator[str]:
    if not any((root / name).is_file() for name in LICENCE_FILES):
        yield "there is no licence at the root"
    if "Apache-2.0" not in _readme_text(root):
        yield "README does not name the licence"


def _readme(root: Path) -> Iterator[str]:
    text = _readme_text(root)
    title, _, rest = text.partition("\n")
    if title.strip("# ") != MODULE:
        yield "README does not begin with the name of the extension"
    if len(rest.strip().partition("\n\n")[0]) < 80:
        yield "README does not state the purpose of the extension in its first lines"
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    if not pictures:
        yield "README shows no picture"
    yield from (f"README shows {one}, which does not exist" for one in pictures if not (root / one).is_file())
    for heading in ("Modules", "Tutorial", "cite"):
        if not re.search(rf"^#+ .*\b{heading}\b", text, re.MULTILINE):
            yield f"README has no heading with '{heading}'"
    source = (root / MODULE / f"{MODULE}.py").read_text(encoding="utf-8")
    found = re.search(r'parent\.title = _\("([^"]+)"\)', source)
    modules = _section(text, "Modules")
    if found is None or found.group(1) not in modules:
        yield "section Modules of README does not describe the module"
    tutorial = _section(text, "Tutorial")
    if len(re.findall(r"^\d+\. ", tutorial, re.MULTILINE)) < 3:
        yield "the tutorial in README has no numbered steps"
    if "Sample Data" not in tutorial:
        yield "the tutorial in README does not state the source of its data"
    samples = (root / MODULE / OWN / "host" / "mrml" / "sample_data.py").read_text(encoding="utf-8")
    for sample in re.findall(rf"\b{MODULE}[A-Z]\w+", tutorial):
        if f'"{sample}"' not in samples:
            yield f"{sample} of the tutorial is not registered with the Sample Data module"


def _imports(root: Path) -> Iterator[str]:
    folder = root / MODULE
    on_start = _imported_on_start(folder)
    for path in sorted(folder.rglob("*.py")):
        allowed = ALLOWED if path in on_start else ALLOWED_LATER
        for name in _modules_at_file_scope(path, folder):
            package = name.split(".")[0]
            if package not in allowed:
                yield f"{path.relative_to(root).as_posix()} imports {package} at file scope"
            elif package in ("torch", "rich") and path in on_start:
                yield f"{path.relative_to(root).as_posix()} imports {package} when Slicer starts"


def _effects_of_import(root: Path) -> Iterator[str]:
    """No import installs or downloads anything, and torch is installed only by the extension PyTorch."""
    for path in sorted((root / MODULE).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in _at_file_scope(tree):
            if isinstance(node, ast.Call) and _called(node) in _INSTALLERS:
                yield f"{path.relative_to(root).as_posix()} calls {_called(node)} at file scope"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) == "pip_install" and "torch" in ast.unparse(node):
                yield f"{path.relative_to(root).as_posix()} installs torch by pip"


def _size(root: Path) -> Iterator[str]:
    ignored = (root / ".gitignore").read_text(encoding="utf-8").split() if (root / ".gitignore").is_file() else []
    left_out = {name.strip("/") for name in ignored}
    total = sum(
        path.stat().st_size
        for path in root.rglob("*")
        if not left_out & set(path.relative_to(root).parts) and path.is_file()
    )
    if total > CHECKOUT_BYTES:
        yield f"a checkout has {total / 1024**2:.0f} MB, more than {CHECKOUT_BYTES // 1024**2}"


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file in pixels."""
    with path.open("rb") as file:
        header = file.read(24)
    if header[:8] != b"\x89PNG\r\n\x1a\n":
        return 0, 0
    width, height = struct.unpack(">II", header[16:24])
    return width, height


def _name(root: Path) -> str:
    found = re.search(r"project\s*\(\s*(\w+)", (root / "CMakeLists.txt").read_text(encoding="utf-8"))
    return found.group(1) if found else ""


def _set_in_cmake(root: Path, key: str) -> str | None:
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf'^set\(EXTENSION_{key} "([^"$]+)"\)$', text, re.MULTILINE)
    return found.group(1) if found else None


def _readme_text(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def _section(text: str, heading: str) -> str:
    """Text below a heading, its subsections with it."""
    found = re.search(rf"^(#+) .*\b{heading}\b.*$", text, re.MULTILINE)
    if found is None:
        return ""
    rest = text[found.end() :]
    following = re.search(rf"^#{{1,{len(found.group(1))}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def _at_file_scope(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that are executed when a file is imported."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def _modules_at_file_scope(path: Path, folder: Path) -> Iterator[str]:
    """Dotted names of what a file imports when it is imported; of `from x import y` both x and x.y."""
    package = list(path.relative_to(folder).parts[:-1])
    for node in _at_file_scope(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def _imported_on_start(folder: Path) -> set[Path]:
    """Files of ours that Slicer or the panel imports when it starts, directly or through others."""
    waiting = [folder / name for name in _ON_START if (folder / name).is_file()]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _modules_at_file_scope(path, folder):
            module = folder.joinpath(*name.split("."))
            waiting += [one for one in (module.with_suffix(".py"), module / "__init__.py") if one.is_file()]
    return found


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


CHECKS: dict[str, Callable[[Path], Iterator[str]]] = {
    "description": _description,
    "cmake": _cmake,
    "pictures": _pictures,
    "licence": _licence,
    "readme": _readme,
    "imports": _imports,
    "effects of import": _effects_of_import,
    "size": _size,
}

if __name__ == "__main__":
    wrong = findings(Path(__file__).parents[1])
    print("\n".join(wrong))
    sys.exit(bool(wrong))
