"""The panel can be translated: every text that it shows is one that Slicer's extractor of texts finds."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fewshot_annotate.engines.registry import engine_class, engine_names
from fewshot_annotate.host.engines.descriptions import engine_summaries, restrictions_text
from fewshot_annotate.weights import catalog
from support.processes import PACKAGE_PARENT

SOURCES = [PACKAGE_PARENT / "FewShotAnnotate.py", *sorted((PACKAGE_PARENT / "fewshot_annotate/host").rglob("*.py"))]
# Folder of Slicer's sources, https://github.com/Slicer/Slicer.
SLICER_SOURCE = os.environ.get("FEWSHOT_SLICER_SOURCE")
# Function -> the argument that is translated.
TRANSLATING = {"_": 0, "tr": 0, "slicer.i18n.tr": 0, "translate": 1, "slicer.i18n.translate": 1}


def translated(tree: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """What is translated in a source, with its lines."""
    for node in ast.walk(tree):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and name in TRANSLATING:
            assert len(node.args) == TRANSLATING[name] + 1
            assert not node.keywords
            yield node.lineno, node.args[-1]


def literals(tree: ast.AST) -> list[str]:
    return sorted(text.value for _, text in translated(tree) if isinstance(text, ast.Constant))


def context_of(source: Path) -> str:
    """Context of the texts of a source, as Slicer names it."""
    in_package = source.with_name("__init__.py").is_file()
    return f"{source.parent.name}.{source.stem}" if in_package else source.stem


def parsed(source: Path) -> ast.AST:
    return ast.parse(source.read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_only_literals_are_translated(source: Path) -> None:
    for line, text in translated(parsed(source)):
        assert isinstance(text, ast.Constant), f"{source}:{line}: {ast.unparse(text)}"
        assert isinstance(text.value, str)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_literals_are_written_as_the_extractor_of_slicer_reads_them(source: Path) -> None:
    """It looks for a quote after the bracket, and for the next such quote before a closing bracket."""
    code = source.read_text(encoding="utf-8")
    for line, text in translated(ast.parse(code)):
        written = ast.get_source_segment(code, text) or ""
        assert written[0] in "\"'", f"{source}:{line}"
        assert written[0] == written[-1], f"{source}:{line}"
        assert not re.search(rf"{written[0]}\s*\)", written), f"{source}:{line}"
        after = "\n".join(code.splitlines()[(text.end_lineno or 1) - 1 :]).encode()[text.end_col_offset :]
        assert after.lstrip().startswith(b")"), f"{source}:{line}: a comma"


@pytest.mark.parametrize(
    "code", ["_(text)", "_(f'{text}')", "_('a' + text)", "_('a {}'.format(text))", "tr(str(text))"]
)
def test_a_text_that_is_not_a_literal_is_detected(code: str) -> None:
    ((_, text),) = translated(ast.parse(code))
    assert not isinstance(text, ast.Constant)


def test_texts_of_the_panel_are_found() -> None:
    assert sum(len(literals(parsed(source))) for source in SOURCES) > 500


def test_every_engine_has_its_summary_in_the_panel() -> None:
    assert engine_summaries() == {name: engine_class(name).summary for name in engine_names()}


def test_every_licence_of_weights_has_its_restrictions_in_the_panel() -> None:
    for checkpoint in catalog.checkpoints():
        assert restrictions_text(replace(checkpoint, restrictions="")) == checkpoint.restrictions


if SLICER_SOURCE:

    def test_the_extractor_of_slicer_finds_the_same_texts(tmp_path: Path) -> None:
        """Slicer's script, with Qt's extractor, writes them into the file that translators get."""
        import PySide6

        shutil.copytree(PACKAGE_PARENT, tmp_path / "code", ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "texts").mkdir()
        script = Path(SLICER_SOURCE) / "Utilities/Scripts/update_translations.py"
        lupdate = Path(PySide6.__file__).with_name("lupdate")
        words = ["--lupdate", lupdate, "-c", "FewShotAnnotate", "-s", tmp_path / "code", "-t", tmp_path / "texts"]
        subprocess.run([sys.executable, script, *words], check=True, capture_output=True)
        (file,) = (tmp_path / "texts").iterdir()
        found = {
            (context.findtext("name"), message.findtext("source"))
            for context in ElementTree.parse(file).iter("context")
            for message in context.iter("message")
        }
        expected = {(context_of(source), text) for source in SOURCES for text in literals(parsed(source))}
        expected -= {(context_of(SOURCES[0]), "Segmentation")}
        expected |= {("qSlicerAbstractCoreModule", "Segmentation")}  # a category of Slicer's own modules
        assert {text for text in found if text[0] != "FewShotAnnotate" or text in expected} == expected
