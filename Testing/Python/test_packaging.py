"""What Slicer's build sees: CMake lists equal the tree, and the extension's description is complete."""

from __future__ import annotations

import re
import tomllib
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


def test_the_description_has_the_words_that_people_search_for():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    (description,) = re.findall(r'set\(EXTENSION_DESCRIPTION "([^"]+)"\)', text)
    for phrase in ("segmentation", "annotation", "few-shot", "interpolate between slices", "label"):
        assert phrase in description.lower(), phrase


def test_contributors_are_stated_as_slicer_requires_and_the_same_everywhere():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    (contributors,) = re.findall(r'set\(EXTENSION_CONTRIBUTORS "([^"]+)"\)', text)
    assert re.fullmatch(r"[\w .-]+ \([^()]+\)(, [\w .-]+ \([^()]+\))*", contributors), "Name (Organisation), ..."
    module = (MODULE / "FewShotAnnotate.py").read_text(encoding="utf-8")
    assert f'self.parent.contributors = ["{contributors}"]' in module


def test_the_extra_all_holds_the_packages_of_every_command():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        found = set()
        for requirement in extras[extra]:
            own = re.match(r"fewshot-annotate\[(.+)\]", requirement)
            inner = [packages(name) for name in own[1].split(",")] if own else [{re.split(r"[=<>]", requirement)[0]}]
            found.update(*inner)
        return found

    for extra in extras.keys() - {"all", "test", "benchmark"}:
        assert packages(extra) <= packages("all"), extra


def test_readme_states_what_is_untested_and_which_slicer_is_needed():
    top = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert "**Untested** in a released Slicer package" in top
    assert "`adapt` needs the extension *PyTorch*" in " ".join(top.split())


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
