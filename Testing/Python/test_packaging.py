"""What Slicer's build sees: CMake lists equal the tree, and the extension's description is complete."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "FewShotAnnotate"


def _cmake_list(name: str) -> list[str]:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL)
    assert found, f"{name} is not set"
    return found.group(1).split()


def test_cmake_lists_every_script_of_the_tree():
    tree = sorted(path.relative_to(MODULE).as_posix() for path in MODULE.rglob("*.py"))
    assert sorted(_cmake_list("MODULE_PYTHON_SCRIPTS")) == tree


def test_cmake_lists_every_resource_of_the_tree():
    files = [*(MODULE / "Resources").rglob("*"), *(MODULE / "fewshot_annotate").rglob("*")]
    data = [path for path in files if path.is_file() and path.suffix not in (".py", ".pyc")]
    tree = sorted(path.relative_to(MODULE).as_posix() for path in data)
    assert sorted(_cmake_list("MODULE_PYTHON_RESOURCES")) == tree


def test_nothing_is_listed_twice():
    for name in ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"):
        listed = _cmake_list(name)
        assert len(listed) == len(set(listed))


def test_extension_describes_itself_with_literal_addresses():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in ("HOMEPAGE", "ICONURL", "SCREENSHOTURLS"):
        assert re.search(rf'set\(EXTENSION_{name} "https://[^"$]+"\)', text), name
    for name in ("CONTRIBUTORS", "DESCRIPTION", "DEPENDS"):
        assert re.search(rf'set\(EXTENSION_{name} "[^"$]+"\)', text), name
    assert not re.search(r"project\(Slicer", text)


def test_extension_icon_and_screenshot_are_in_the_tree():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for address in " ".join(re.findall(r'(?:ICONURL|SCREENSHOTURLS) "([^"]+)"', text)).split():
        assert (ROOT / address.split("/main/")[1]).is_file(), address


def test_cmake_adds_both_folders():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for folder in ("FewShotAnnotate", "Testing"):
        assert f"add_subdirectory({folder})" in text
        assert (ROOT / folder / "CMakeLists.txt").is_file()


def test_panel_file_is_well_formed_and_names_real_parameters():
    root = ElementTree.parse(MODULE / "Resources" / "UI" / "FewShotAnnotate.ui").getroot()
    properties = [element for element in root.iter("property") if element.get("name") == "SlicerParameterName"]
    bound = {element.findtext("string") for element in properties}
    source = (MODULE / "FewShotAnnotate.py").read_text(encoding="utf-8")
    parameters = set(re.findall(r"^    (\w+): \w+(?: = .*)?$", source, re.MULTILINE))
    assert bound
    assert bound <= parameters
