"""The documents: links, pictures, commands and options in them exist, their example runs, and versions agree."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import fewshot_annotate
import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate import cli
from fewshot_annotate.engines.registry import engine_class, engine_names

ROOT = Path(__file__).parents[2]
DOCUMENTATION = ROOT / "Resources" / "Documentation"
REFERENCE = DOCUMENTATION / "command_line.md"
PACKAGE = Path(fewshot_annotate.__file__).parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "Resources").rglob("*.md"), *(ROOT / "Testing").rglob("*.md")],
    key=lambda path: path.as_posix(),
)

README_LINES = 130

_BLOCK = re.compile(r"^```[^`]*^```$|^(?: {4,}[^\n]*\n)+", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_ADDRESS = re.compile(r"[a-z]+:")


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """A document without its code, in which brackets are no links."""
    return _CODE.sub("", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    found: dict[str, int] = {}
    result = set()
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} (.+)$", outside, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        result.add(f"{slug}-{count}" if count else slug)
    return result


def broken_links(document: Path) -> Iterator[str]:
    """Relative links whose file, folder or heading does not exist."""
    for target in _LINK.findall(prose(document.read_text(encoding="utf-8"))):
        if _ADDRESS.match(target):
            continue
        relative_path, _, anchor = unquote(target).partition("#")
        path = document.parent / relative_path if relative_path else document
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            yield target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_targets_of_links_and_pictures_exist(document: Path) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](missing.md)", ["missing.md"]),
        ("![a](picture.png)", ["picture.png"]),
        ("# One `two` three!\n[a](#one-two-three) [b](#one)", ["#one"]),
        ("# Same\n# Same\n[a](#same) [b](#same-1) [c](#same-2)", ["#same-2"]),
        ("[a](other.md#there) [b](other.md#here)", ["other.md#here"]),
        ("`[a](missing.md)` [b](https://example.org/missing.md)", []),
    ],
)
def test_broken_links_are_found(text: str, broken: list[str], tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("## There\n")
    document = tmp_path / "document.md"
    document.write_text(text)
    assert list(broken_links(document)) == broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_of_the_repository_named_in_the_documents_exist(document: Path) -> None:
    named = re.findall(r"\b(?:Testing|Resources)/[\w./-]*\w", document.read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).exists() and not (document.parent / name).exists()]
    assert missing == []


def test_every_document_is_linked_from_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in _LINK.findall(prose(readme))}
    expected = {ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCUMENTATION.glob("*.md")}
    assert expected <= linked


def test_every_picture_is_shown_in_a_document() -> None:
    texts = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    pictures = (ROOT / "Resources" / "Screenshots").glob("*.png")
    assert [picture.name for picture in pictures if picture.name not in texts] == []


def test_the_tutorial_shows_slicer_itself() -> None:
    tutorial = (DOCUMENTATION / "tutorial.md").read_text(encoding="utf-8")
    shown = {Path(target).name for target in _LINK.findall(tutorial) if target.endswith(".png")}
    assert shown == {"slicer_painted.png", "slicer_filled.png", "slicer_review.png"}


def test_readme_is_short_and_gives_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    for kind in ("demo", "test"):
        assert re.search(rf"^ +python3 Testing/run\.py {kind}$", text, re.MULTILINE)


# --- the command line


def help_of(*command: str) -> str:
    """What a command prints with --help, unwrapped."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setenv("COLUMNS", "1000")
        with contextlib.suppress(SystemExit):
            cli.main([*command, "--help"])
    return printed.getvalue()


def commands(*words: str) -> dict[tuple[str, ...], set[str]]:
    """Options of each command; `fewshot-annotate dataset add` is ("dataset", "add"), the program itself is ()."""
    text = help_of(*words)
    lines = re.findall(r"^  (-.*?)(?:  .*)?$", text, re.MULTILINE)
    found = {words: {option for line in lines for option in re.findall(r"(?:^|, )(--?[a-z][a-z-]*)", line)}}
    for word in re.findall(r"^ {4}([a-z]+)(?: |$)", text, re.MULTILINE):
        found |= commands(*words, word)
    return found


COMMANDS = commands()
OPTIONS = set().union(*COMMANDS.values())


def shown_commands(text: str) -> Iterator[list[str]]:
    """Arguments of each `fewshot-annotate` command that a document shows as code."""
    blocks = _BLOCK.findall(text)
    spans = [span.strip("`") for span in _CODE.findall(_BLOCK.sub("", text))]
    for line in [*re.sub(r"\\\n\s*", " ", "\n".join(blocks)).splitlines(), *spans]:
        program, *arguments = shlex.split(line.strip(), comments=True) if "fewshot-annotate" in line else [""]
        if Path(program.replace("\\", "/")).name == "fewshot-annotate":
            yield arguments


def unknown_arguments(arguments: list[str]) -> list[str]:
    """Subcommands and options among the arguments that do not exist."""
    command: tuple[str, ...] = ()
    while arguments[len(command) :] and (*command, arguments[len(command)]) in COMMANDS:
        command = (*command, arguments[len(command)])
    depth = len(command)
    has_subcommands = any(len(key) > depth and key[:depth] == command for key in COMMANDS)
    rest = arguments[depth:]
    options = [word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word)]
    unknown = [option for option in options if option not in COMMANDS[command]]
    if has_subcommands and rest and re.fullmatch(r"[a-z]\S*", rest[0]):
        unknown.append(rest[0])
    return unknown


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_and_options_in_the_documents_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [wrong for arguments in shown_commands(text) for wrong in unknown_arguments(arguments)] == []
    spans = (span.strip("`").split()[0] for span in _CODE.findall(_BLOCK.sub("", text)))
    named = [word.partition("=")[0] for word in spans if word.startswith("--")]
    assert [option for option in named if option not in OPTIONS] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("    fewshot-annotate fill A B -o C --no-such\n", ["--no-such"]),
        ("    .venv/bin/fewshot-annotate fill A B \\\n        --study C\n", ["--study"]),
        ("`fewshot-annotate models fetch`", ["fetch"]),
        ("```\nfewshot-annotate library save A B C --corrected\n```\n", ["--corrected"]),
        ("    fewshot-annotate models list\n", []),
    ],
)
def test_wrong_commands_are_found(text: str, wrong: list[str]) -> None:
    assert [word for arguments in shown_commands(text) for word in unknown_arguments(arguments)] == wrong


@pytest.mark.parametrize("source", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda source: source.name)
def test_commands_and_options_in_messages_exist(source: Path) -> None:
    """Every string literal is searched, so help of arguments and parts of joined texts are included."""
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    sentences = [text for text in texts if " " in text]
    options = {option for text in sentences for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
    assert options - OPTIONS == set()
    commands_in_texts = [
        arguments for text in sentences for arguments in re.findall(r"fewshot-annotate ((?:[a-z]+ ?)+)", text)
    ]
    assert [wrong for arguments in commands_in_texts for wrong in unknown_arguments(arguments.split())] == []


def test_every_command_has_help_without_python_in_it() -> None:
    for command in COMMANDS:
        assert not re.search(r"\bNone\b|%\(|\{[a-z_]+\}|\bTrue\b|\bFalse\b", help_of(*command)), command


def test_the_reference_names_every_command_and_option() -> None:
    reference = REFERENCE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## ([a-z]+)$(.*?)(?=^## |\Z)", reference, re.MULTILINE | re.DOTALL))
    missing = []
    for command, options in COMMANDS.items():
        section = sections.get(command[0], "") if command else reference
        missing += [" ".join(command)] * (" ".join(("fewshot-annotate", *command)) not in section)
        long = [option for option in options if option.startswith("--") and option not in ("--help", "--version")]
        missing += [f"{' '.join(command)} {option}" for option in long if f"`{option}`" not in section]
    assert missing == []


def test_the_document_of_engines_names_every_engine_and_option() -> None:
    text = (DOCUMENTATION / "engines.md").read_text(encoding="utf-8")
    classes = [engine_class(name) for name in engine_names()]
    names = {name for engine in classes for name in (engine.name, *engine.options)}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


# --- versions and metadata


def test_all_files_state_the_same_version() -> None:
    version = fewshot_annotate.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert project["version"] == version
    assert changes[0] == version
    assert citation is not None
    assert citation.group(1) == version


def test_all_files_state_the_same_address_of_the_project() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    homepage = re.search(r'EXTENSION_HOMEPAGE "([^"]+)"', cmake)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert homepage is not None
    assert project["urls"]["Homepage"] == homepage.group(1)
    pages = [url.removeprefix(homepage.group(1)) for url in project["urls"].values()]
    in_tree = [page.partition("/main/")[2] for page in pages if "/main/" in page]
    assert len(in_tree) == 2
    assert all((ROOT / page).exists() for page in in_tree)
    assert {page for page in pages if "/main/" not in page} == {"", "/issues"}
    assert f"repository-code: {homepage.group(1)}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


# --- the example of an engine


def test_the_example_of_an_engine_runs_as_it_is_written(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    engine, registration = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(engine.splitlines()) <= 30
    package = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    folder = package / "engines" / "nearest_copy"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "engine.py").write_text(engine, encoding="utf-8")
    table = "ENGINES = {\n"
    sources = {path: path.read_text(encoding="utf-8") for path in (package / "engines").glob("*.py")}
    (registry,) = (path for path, source in sources.items() if table in source)
    registry.write_text(sources[registry].replace(table, table + registration), encoding="utf-8")

    labels = np.zeros((7, 8, 8), dtype=np.uint8)
    labels[1, 2:5, 2:5], labels[5, 3:7, 3:7] = 1, 2
    image = np.random.default_rng(0).integers(0, 100, labels.shape).astype(np.int16)
    for name, array in (("image", image), ("label", labels)):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"{name}.nii.gz"))
    arguments = (
        "fill image.nii.gz label.nii.gz -o filled.nii.gz --engine nearest-copy --option certainty=0.8 --progress none"
    )
    subprocess.run(
        [sys.executable, "-m", f"{PACKAGE.name}.cli", *arguments.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
        timeout=120,
    )
    filled = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "filled.nii.gz")))
    assert (filled[1:4] == labels[1]).all()
    assert (filled[4:6] == labels[5]).all()
    assert not filled[[0, 6]].any()
