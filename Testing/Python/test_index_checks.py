"""Requirements of Slicer's extensions index: this repository meets them, and a checkout that does not is detected."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import index_checks
import pytest

ROOT = Path(__file__).parents[2]
DESCRIPTION = "Resources/FewShotAnnotate.json"
LIB = "FewShotAnnotate/fewshot_annotate"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that are checked."""
    for name in ("CMakeLists.txt", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("Resources", "FewShotAnnotate"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def replace(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert re.search(old, text, re.MULTILINE), old
    path.write_text(re.sub(old, new, text, count=1, flags=re.MULTILINE), encoding="utf-8", newline="\n")


def describe(root: Path, **changed: object) -> None:
    path = root / DESCRIPTION
    data = {**json.loads(path.read_text(encoding="utf-8")), **changed}
    kept = {key: value for key, value in data.items() if value is not None}
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8", newline="\n")


def append(root: Path, name: str, text: str) -> None:
    with (root / name).open("a", encoding="utf-8") as file:
        file.write(text)


WRONG: dict[str, Callable[[Path], object]] = {
    "description: FewShotAnnotate.json is missing": lambda root: (root / DESCRIPTION).unlink(),
    "description: category is missing": lambda root: describe(root, category=None),
    "description: screenshots is not a key": lambda root: describe(root, screenshots=[]),
    "description: tier is not a int": lambda root: describe(root, tier="1"),
    "description: category is not Segmentation": lambda root: describe(root, category="Segmenting"),
    "description: scm_url is not the https": lambda root: describe(
        root, scm_url="https://github.com/a/FewShotAnnotate"
    ),
    "description: scm_url and": lambda root: describe(root, scm_url="https://github.com/a/SlicerFewShotAnnotate"),
    "description: build_dependencies": lambda root: describe(root, build_dependencies=[]),
    "description: a line has a tab": lambda root: append(root, DESCRIPTION, "\r\n"),
    "description: FewShotAnnotate.json is not JSON": lambda root: append(
        root, "Resources/FewShotAnnotate.json", "}\n"
    ),
    "cmake: project()": lambda root: replace(root, "CMakeLists.txt", r"project\(", "project(Slicer"),
    "cmake: EXTENSION_ICONURL is not set": lambda root: replace(
        root, "CMakeLists.txt", '"https://raw[^"]*FewShotAnnotate.png"', '"${HOME_URL}/icon.png"'
    ),
    "cmake: EXTENSION_HOMEPAGE is not an https": lambda root: replace(
        root, "CMakeLists.txt", "https://github", "github"
    ),
    "cmake: EXTENSION_DESCRIPTION": lambda root: replace(
        root, "CMakeLists.txt", 'DESCRIPTION ".*"', 'DESCRIPTION "-"'
    ),
    "pictures: EXTENSION_SCREENSHOTURLS": lambda root: (root / "Resources/Screenshots/brain.png").unlink(),
    "pictures: FewShotAnnotate.png: an icon": lambda root: shutil.copy(
        root / "Resources/Screenshots/brain.png", root / "Resources/FewShotAnnotate.png"
    ),
    "pictures: brain.png: too small": lambda root: shutil.copy(
        root / "Resources/FewShotAnnotate.png", root / "Resources/Screenshots/brain.png"
    ),
    "licence: there is no": lambda root: (root / "LICENSE").unlink(),
    "licence: README": lambda root: replace(root, "README.md", "Apache-2.0", "free"),
    "readme: README does not begin": lambda root: replace(root, "README.md", r"\A# FewShotAnnotate", "# Annotate"),
    "readme: README shows": lambda root: replace(root, "README.md", r"\(Resources/Screenshots/brain", "(brain"),
    "readme: README has no heading with 'Tutorial'": lambda root: replace(
        root, "README.md", "^## Tutorial", "## How"
    ),
    "readme: README has no heading with 'cite'": lambda root: replace(root, "README.md", "how to cite", "more"),
    "readme: section Modules": lambda root: replace(root, "README.md", r"\*\*Few-Shot Annotate\*\*", "It"),
    "readme: the tutorial in README does not": lambda root: replace(
        root, "README.md", r"\*Sample Data\*", "internet"
    ),
    "readme: FewShotAnnotateNowhere": lambda root: replace(
        root, "README.md", r"^(## Tutorial)$", "\\1\n\nFewShotAnnotateNowhere"
    ),
    "imports: FewShotAnnotate/FewShotAnnotate.py imports rich": lambda root: append(
        root, "FewShotAnnotate/FewShotAnnotate.py", "import rich\n"
    ),
    f"imports: {LIB}/core/job.py imports torch at": lambda root: append(root, f"{LIB}/core/job.py", "import torch\n"),
    f"imports: {LIB}/cli/fill.py imports pandas": lambda root: append(root, f"{LIB}/cli/fill.py", "import pandas\n"),
    f"effects of import: {LIB}/core/job.py calls pip_install": lambda root: append(
        root, f"{LIB}/core/job.py", "import slicer\nslicer.util.pip_install('x')\n"
    ),
    f"effects of import: {LIB}/core/job.py installs torch": lambda root: append(
        root, f"{LIB}/core/job.py", "def f(slicer):\n    slicer.util.pip_install('torch')\n"
    ),
}


@pytest.mark.slow
def test_this_repository_meets_the_requirements_of_the_index() -> None:
    assert index_checks.findings(ROOT) == []


@pytest.mark.parametrize("finding", WRONG)
def test_a_violation_of_the_requirements_is_found(finding: str, checkout: Path) -> None:
    WRONG[finding](checkout)
    name, _, beginning = finding.partition(": ")
    found = list(index_checks.CHECKS[name](checkout))
    assert any(line.startswith(beginning) for line in found), found


def test_a_large_checkout_is_reported_and_ignored_folders_are_not_counted(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_checks, "CHECKOUT_BYTES", 20 * 1024**2)
    size = index_checks.CHECKS["size"]
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "large").write_bytes(bytes(21 * 1024**2))
    assert not list(size(checkout))
    (checkout / "large").write_bytes(bytes(21 * 1024**2))
    assert len(list(size(checkout))) == 1
