"""Errors are codes with data; the package, the command line and the panel each have their sentences for them."""

from __future__ import annotations

import argparse
import ast
import pickle
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from fewshot_annotate.cli import messages as command_line
from fewshot_annotate.core.errors import FAILURES, InputError, Message
from fewshot_annotate.host import messages as panel
from fewshot_annotate.messages import SENTENCES, installation
from fewshot_annotate.messages.details import DETAILS
from fewshot_annotate.messages.installation import PINNED, install_command
from support.processes import PACKAGE_PARENT
from support.syntax_trees import statements, tree_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = PACKAGE_PARENT / "fewshot_annotate"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TABLES = {"package": SENTENCES, "command line": command_line.OWN_SENTENCES, "panel": panel.sentences()}
ALL = [(table, code) for table, sentences in TABLES.items() for code in sentences]
# Messages that end with another message or a number; parts of a sentence begin with a small letter.
OPEN_ENDED = {"case_row", "engine_and_reason", "names_and_last", "painted_slices", "run_plan_unreadable"}
OPEN_ENDED |= {"study_scores_and_lead"}
# Names at the beginning of a sentence.
OPEN_ENDED |= {"one_shot", "few_shot", "segmentation_named"}
# Files that only the command line runs, so that the panel needs no sentences for their errors.
WITHOUT_PANEL = {"core/clean_up.py", "datasets/case.py", "datasets/case_plan.py", "guidance/poor_dice_warning.py"}
WITHOUT_PANEL |= {"io/ignored_labels.py"}


def part_of(source: Path) -> str:
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


@cache
def messages_in(source: Path) -> list[tuple[str, ast.Call]]:
    """Code and call of each error and message that a file creates, except the file that decodes them from JSON."""
    found = []
    for node in ast.walk(tree_of(source)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in ("InputError", "Message"):
            continue
        code = node.args[0]
        for choice in (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,):
            if source != PACKAGE / "core/errors.py":
                assert isinstance(choice, ast.Constant), f"{source}:{node.lineno}"
                found.append((str(choice.value), node))
    return found


@cache
def files_by_code() -> dict[str, set[Path]]:
    found: dict[str, set[Path]] = defaultdict(set)
    for source in SOURCES:
        for code, _ in messages_in(source):
            found[code].add(source)
    return found


# --- sentences and codes belong together


def test_every_code_has_a_sentence_in_each_catalogue() -> None:
    for code, sources in files_by_code().items():
        parts = {part_of(source) for source in sources}
        assert "cli" not in parts or code in SENTENCES | command_line.OWN_SENTENCES, code
        assert "host" not in parts or code in panel.sentences(), code
        assert code in SENTENCES or parts <= {"cli", "host"}, code


def test_no_code_has_two_sentences_in_one_catalogue() -> None:
    for folder in (PACKAGE / "messages", PACKAGE / "host/sentences"):
        codes: Counter[str] = Counter()
        for source in folder.glob("*.py"):
            for node in ast.walk(tree_of(source)):
                if isinstance(node, ast.Dict):
                    codes.update(key.value for key in node.keys if isinstance(key, ast.Constant))
        assert [code for code, count in codes.items() if count > 1] == []
        assert len(codes) > 100


def test_every_sentence_is_used() -> None:
    for table, code in ALL:
        parts = {part_of(source) for source in files_by_code()[code]}
        assert parts, code
        assert parts - {"cli", "host"} or (parts == {"cli"} and table == "command line") or table == "panel", code


def modules_of(source: Path) -> Iterator[Path]:
    """Files of the package that a file imports, also within functions."""
    package = ["fewshot_annotate", *source.relative_to(PACKAGE).parts[:-1]]
    for node in statements(tree_of(source)):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        parts = [*base, *(node.module.split(".") if node.module else [])]
        if parts[:1] == ["fewshot_annotate"]:
            for names in ([*parts, alias.name] for alias in node.names):
                for path in (PACKAGE.joinpath(*names[1:]), PACKAGE.joinpath(*names[1:-1])):
                    yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())


def reached_by_the_panel() -> set[Path]:
    """Files that the panel and the workers it starts import, directly or not."""
    programs = ("jobs/worker.py", "evaluation/worker.py", "datasets/filling_worker.py", "datasets/training_worker.py")
    workers = [*map(PACKAGE.joinpath, programs), *(PACKAGE / "engines").rglob("*.py")]
    remaining, found = [*(PACKAGE / "host").rglob("*.py"), *workers], set()
    while remaining:
        source = remaining.pop()
        if source not in found:
            found.add(source)
            remaining += modules_of(source)
    return found


def test_the_panel_has_sentences_for_exactly_the_codes_that_can_reach_it() -> None:
    reached = reached_by_the_panel() - {PACKAGE / name for name in WITHOUT_PANEL}
    assert set(panel.sentences()) == {code for code, sources in files_by_code().items() if sources & reached}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(PACKAGE).as_posix())
def test_every_error_has_the_data_that_its_sentences_need(source: Path) -> None:
    for code, call in messages_in(source):
        passed = {keyword.arg for keyword in call.keywords}
        needed = set().union(*(placeholders(sentences.get(code, "")) for sentences in TABLES.values()))
        assert None in passed or needed <= passed, f"{code}, line {call.lineno}"


# --- parts of sentences

# Placeholders for names of files, frames and other things, as which the Python API names arrays.
NAMES = {"path", "name", "first", "second"}


def texts_of(value: ast.expr, scope: ast.AST, module: ast.AST) -> Iterator[str]:
    """English texts that an expression can evaluate to, with 7 for each value that is formatted into them."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in value.values)
    elif isinstance(value, ast.BoolOp | ast.List | ast.Tuple):
        for part in value.values if isinstance(value, ast.BoolOp) else value.elts:
            yield from texts_of(part, scope, module)
    elif isinstance(value, ast.BinOp):
        yield from texts_of(value.left, scope, module)
        yield from texts_of(value.right, scope, module)
    elif isinstance(value, ast.Call):
        name = ast.unparse(value.func).rpartition(".")[2]
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                for statement in ast.walk(node):
                    if isinstance(statement, ast.Return) and statement.value is not None:
                        yield from texts_of(statement.value, ast.Pass(), ast.Pass())
    elif isinstance(value, ast.IfExp):
        yield from texts_of(value.body, scope, module)
        yield from texts_of(value.orelse, scope, module)
    elif isinstance(value, ast.Name):
        for tree in (scope, module):
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign) and value.id in [ast.unparse(target) for target in node.targets]:
                    yield from texts_of(node.value, ast.Pass(), ast.Pass())


def words_in_data(source: Path) -> Iterator[tuple[str, int, str]]:
    """What a file puts into the placeholders of sentences in English words: texts with a space."""
    module = tree_of(source)
    functions = [node for node in statements(module) if isinstance(node, ast.FunctionDef)]
    contents = [(function, set(ast.walk(function))) for function in functions] if messages_in(source) else []
    for _, call in messages_in(source):
        scope = next((function for function, nodes in contents if call in nodes), module)
        for keyword in call.keywords:
            for text in texts_of(keyword.value, scope, module) if keyword.arg not in NAMES else ():
                if " " in text.strip() and re.search("[a-z]{2}", text):
                    yield source.relative_to(PACKAGE).as_posix(), call.lineno, text


def test_the_library_gives_codes_and_data_and_no_english_words() -> None:
    lower = [source for source in SOURCES if part_of(source) not in ("cli", "host", "messages")]
    assert [found for source in lower for found in words_in_data(source)] == []


# English in files, whatever the language of the user: headings of tables, values of DICOM attributes, identifiers.
ENGLISH_IN_FILES = {
    "evaluation/label_statistics.py": {"filled voxels", "least ml", "most ml", "expected Dice"},
    "evaluation/recommendation.py": {"too little", "one engine"},
    "evaluation/study_scores.py": {"all volumes"},
    "evaluation/study_manifest.py": {"volume "},
    "export/derive.py": {"Derived from an image file"},
    "export/dicom_seg.py": {"Artificial Intelligence", "Segment "},
}
# What the Python API calls label maps that are no file and a wrong seed, and the help of a program that only this
# package starts.
NAMES_IN_THE_API = {"The labels", "a seed"}
PROGRAMS = {"evaluation/worker.py"}


@pytest.mark.parametrize("part", ["evaluation", "export"])
def test_evaluation_and_export_hold_no_english_words(part: str) -> None:
    """Reports of a comparison are pages in English as a whole, and errors in files become one message of damage."""
    found = []
    for source in (PACKAGE / part).rglob("*.py"):
        name = source.relative_to(PACKAGE).as_posix()
        allowed = ENGLISH_IN_FILES.get(name, set()) | NAMES_IN_THE_API
        raised = [node for node in statements(tree_of(source)) if isinstance(node, ast.Raise) and node.exc]
        damage = {node.lineno for node in raised if "ValueError" in ast.unparse(node)}
        if name.startswith("evaluation/report/") or name in PROGRAMS:
            continue
        for line, text in sentences_in(source):
            if line not in damage and text not in allowed and re.search("[a-z]{2}", text):
                found.append((name, line, text))
    assert found == []


def test_parts_of_a_sentence_are_sentences_of_the_interface_too(monkeypatch: pytest.MonkeyPatch) -> None:
    error = InputError("file_truncated", path="a.nrrd", detail=Message("voxels_of", found=3, count=4))
    assert str(error).startswith("a.nrrd: the file ends too early (3 of 4 voxels);")
    own = {**panel.sentences(), "voxels_of": "{found} von {count} Voxeln"}
    monkeypatch.setattr(panel, "sentences", lambda: own)
    assert panel.error_text(error).startswith("a.nrrd: the file ends too early (3 von 4 Voxeln);")
    both = [Message("labels_trimmed"), Message("labels_padded")]
    note = panel.error_text(InputError("labels_regridded", path="b", how="", done=both, lost=""))
    assert note.endswith(": their empty margin was cut off; they cover a part of it.")
    assert panel.error_text(InputError("file_unreadable", path="c", detail="No such device")).count("No such device")


# --- form of sentences


def test_every_sentence_ends_and_stays_on_one_line() -> None:
    for table, code in ALL:
        values: dict[str, Any] = dict.fromkeys(placeholders(TABLES[table][code]), 1)
        message = TABLES[table][code].format(**values)
        assert message.endswith((".", ": 1")) or message[0].islower() or code in OPEN_ENDED | set(DETAILS), message
        assert "\n" not in message
        assert "  " not in message


def test_a_name_with_a_line_break_stays_on_one_line() -> None:
    error = InputError("file_missing", path="two\nlines.nrrd\x1b[2J")
    for message in (str(error), command_line.error_text(error), panel.error_text(error)):
        assert message == r"two lines.nrrd\x1b[2J: no such file or folder; check the name."


OPTION = re.compile(r"(?<![\w-])--([a-z]|$)|fewshot-annotate [a-z]")
BUTTON = re.compile(r"\b([Pp]ress|[Cc]lick|[Bb]utton)\b")


def sentences_in(source: Path) -> Iterator[tuple[int, str]]:
    """Texts in a file that hold a space, without docstrings."""
    tree = tree_of(source)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if _is_documented(node)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text.strip() and id(node) not in docstrings:
            yield node.lineno, text


def _is_documented(node: Any) -> bool:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or not node.body:
        return False
    return isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(PACKAGE).as_posix())
def test_only_the_command_line_names_its_options_and_only_the_panel_its_buttons(source: Path) -> None:
    part = part_of(source)
    for line, text in sentences_in(source):
        assert part == "cli" or not OPTION.search(text), f"{source}:{line}"
        assert part == "host" or not BUTTON.search(text), f"{source}:{line}"


def test_the_ui_files_of_the_panel_name_no_option() -> None:
    for form in PACKAGE_PARENT.rglob("*.ui"):
        assert not OPTION.search(form.read_text(encoding="utf-8")), form


# --- from a code to a sentence


def test_the_cause_of_an_error_is_in_the_words_of_its_front_end() -> None:
    error = InputError("engine_unavailable", engine="sam", detail=InputError("weights_missing", name="sam-vit-b"))
    assert "models download sam-vit-b" in command_line.error_text(error)
    assert "press Fill to download" in panel.error_text(error)
    assert str(error) == "Engine sam cannot run here: Weights 'sam-vit-b' are not installed; download them first."


def test_the_command_line_names_the_option_that_helps() -> None:
    options = argparse.Namespace(resample=False, crop=False, series=None)
    outside = InputError("labels_outside", path="a.nrrd", count=3)
    assert command_line.error_text(outside, options).endswith("agree to crop them. (--crop)")
    assert "--crop" not in command_line.error_text(outside, argparse.Namespace())
    in_table = InputError("case_row", row=2, detail=outside)
    assert command_line.error_text(in_table, options) == f"row 2: {outside} (--crop)"
    series = InputError("series_unknown", path="a", series=3, known="1, 2")
    assert command_line.error_text(series, options).endswith(" (--series)")
    assert command_line.error_text(InputError("case_row", row=2, detail=series), options).endswith(" (column series)")


@pytest.mark.parametrize(
    ("requirements", "command"),
    [
        ("torch", 'pip install --editable "{root}[adapt]"'),
        ('"fewshot-annotate[dicom]"', 'pip install --editable "{root}[dicom]"'),
        ("torch safetensors", 'pip install --editable "{root}[specialist]"'),
        ("transformers safetensors", 'pip install --editable "{root}[pretrained]"'),
        ("torch nnInteractive", 'pip install --editable "{root}[adapt]" nnInteractive'),
        ("pydicom", "pip install pydicom"),
    ],
)
def test_missing_packages_are_installed_by_one_command_with_the_pinned_builds(
    requirements: str, command: str
) -> None:
    assert install_command(requirements) == f"{sys.executable} -m " + command.format(root=ROOT)


def test_the_command_for_missing_packages_is_the_same_everywhere_except_in_the_panel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my tools/bin/python3")
    needed = Message("needs_package", package="torch", install="torch")
    error = InputError("engine_unavailable", engine="adapt", detail=needed)
    command = f'"/opt/my tools/bin/python3" -m pip install --editable "{ROOT}[adapt]"'
    assert str(error).endswith(command)
    assert command_line.error_text(error) == str(error)
    assert "pip" not in panel.error_text(error)


def test_an_installation_without_metadata_names_the_pinned_builds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    assert '"fewshot-annotate[adapt]"' in install_command("torch")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # there is no metadata of the program
    assert install_command("torch safetensors").endswith(f" pip install torch=={PINNED['torch']} safetensors")


def test_extras_in_messages_hold_the_packages_that_they_are_to_install() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = metadata["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        found: set[str] = set()
        for requirement in extras[extra]:
            if own := re.match(r"fewshot-annotate\[(.+)\]", requirement):
                found.update(*(packages(other) for other in own[1].split(",")))
            found.add(re.split(r"[=<>]", requirement)[0])
        return found

    pinned = [requirement for requirement in extras["adapt"] + extras["pretrained"] if "==" in requirement]
    assert dict(requirement.split("==") for requirement in pinned) == PINNED
    several = ("pillow jinja2", "matplotlib jinja2", "torch", "torch safetensors", "torchvision segment-anything")
    for requirements in (*several, "torch huggingface_hub"):
        extra = re.search(r"\[(\w+)\]", install_command(requirements))
        assert extra is not None
        assert set(requirements.split()) <= packages(extra[1])


@pytest.mark.parametrize("error", [InputError("of_another_version", path="a"), InputError("file_missing")])
def test_an_unknown_error_is_named_in_a_sentence(error: InputError) -> None:
    for message in (str(error), command_line.error_text(error), panel.error_text(error)):
        assert error.code in message
        assert message.endswith(".")


def test_errors_can_be_passed_between_processes() -> None:
    error = InputError("case_row", row=2, detail=InputError("file_missing", path=Path("a.nrrd")))
    unpickled = pickle.loads(pickle.dumps(error))
    assert (type(unpickled), unpickled.code, str(unpickled)) == (InputError, error.code, str(error))


def test_a_message_of_the_package_needs_no_other_import() -> None:
    assert isinstance(InputError("file_missing", path="a"), Message)
    assert str(InputError("file_missing", path="a")) == "a: no such file or folder; check the name."


def test_codes_of_failures_are_used() -> None:
    assert set(files_by_code()) >= FAILURES
