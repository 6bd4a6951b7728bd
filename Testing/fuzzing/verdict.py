"""Outcome of an input: correctly accepted, clearly refused, or an error of some kind."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewshot_annotate.core.text import printable

from . import oracles
from .command_environment import NO_READER
from .inputs import Input
from .originals import PRIVATE
from .recipes import RECIPES
from .sandbox import CallResult

GOOD = ("accepted correctly", "refused clearly")
BAD = (
    "refused unclearly",
    "tracebacks",
    "crashes",
    "hangs",
    "leftovers",
    "accepted wrongly",
    "patient data",
)
_DONE, _FAILED, _BAD_INPUT, _CANCELLED = 0, 1, 2, 130
_OURS = ("fewshot-annotate: ", "Note: ")
# Printed by work that takes long, as on a busy machine.
_ACTIVITY = re.compile(r"[A-Z][\w -]* \.\.\.|Searching( \d+ %)? \(.*\)")
_LONGEST_LINE = 1000
_TRACEBACK = re.compile(r"Traceback \(most|unexpected error|^\s+File \".*\", line \d+", re.MULTILINE)
# Terms of libraries and names of temporary files, which users do not understand.
_LIBRARY = re.compile(
    r"itk::|ITK ERROR|sitk::|Errno|0x[0-9a-f]{6,}|<\w+ object|\bWarning:|[A-Z]\w+Error\b|[A-Z]\w+Exception\b"
    r"|\bDescription:|numpy\.|pydicom\.|codec can't"
    r"|\.fsa-|fewshot-annotate-[0-9a-f]{16}"
    r"|invalid literal|could not convert|not subscriptable|NoneType|argument of type"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
# Logs and tables, which hold no images.
_LOGS = (".log", ".csv", ".html", ".jsonl")


@dataclass
class Verdict:
    """The column in which an input counts, and the reason."""

    column: str
    why: str = ""


def judge(
    given: Input,
    folder: Path,
    result: CallResult,
    before: Mapping[str, tuple[object, ...]],
    after: Mapping[str, tuple[object, ...]],
) -> Verdict:
    """Verdict on the outcome of a call, by the first of its errors."""
    both = f"{result.stdout}\n{result.stderr}"
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if result.code is None:
        return Verdict("hangs", f"after {result.seconds:.0f} s")
    if _TRACEBACK.search(both):
        return Verdict("tracebacks", _last_line(result.stderr))
    environment = given.environment
    silent = not result.stderr.strip() and environment.stderr_readable and environment.stdout != NO_READER
    if result.code not in (_DONE, _FAILED, _BAD_INPUT, _CANCELLED) or (result.code and silent):
        return Verdict("crashes", f"exit code {result.code}: {_last_line(result.stderr)}")
    if result.left:
        return Verdict("leftovers", f"processes: {result.left}")
    if secret := _secret(given, folder, both, changed):
        return Verdict("patient data", secret)
    if environment.stderr_readable and (unclear := _unclear(given, folder, result)):
        return Verdict("refused unclearly", unclear)
    output_lost = environment.stdout_fails and result.code == _FAILED  # its files are written before it prints
    if result.code == _DONE or _is_partial(given, result, changed) or output_lost:
        return _judge_accepted(given, folder, result, changed, before)
    if changed := [name for name in changed if not _may_stay(given, folder, name)]:
        return Verdict("leftovers", ", ".join(_described(name, before, after) for name in changed[:8]))
    return Verdict("refused clearly", _last_line(result.stderr))


def _judge_accepted(
    given: Input, folder: Path, result: CallResult, changed: list[str], before: Mapping[str, tuple[object, ...]]
) -> Verdict:
    new = [
        word for word in given.arguments if word and _relative(folder, word) not in before
    ]  # an odd argument may be an output
    allowed = [_relative(folder, path) for path in new] + [
        _relative(folder, path) for path in (*given.outputs.values(), *RECIPES[given.command].changes)
    ]
    allowed += [_relative(folder, str(given.environment.data_folder(folder)))] if _changes_home(given) else []
    allowed += [re.sub("([^/]+)$", r"aside-\1", path) for path in allowed]  # targets of links
    links = [path for path in allowed if before.get(path, ("",))[0] == "link"]
    allowed += [os.path.normpath(f"{path.rpartition('/')[0]}/{before[path][1]}") for path in links]
    allowed += [f"{path}.labels.json" for path in allowed] + [path.rpartition(".nii")[0] or path for path in allowed]
    above = {str(parent) for path in allowed for parent in Path(path).parents} - set(before)
    strange = [name for name in changed if name not in above and not any(_is_within(name, path) for path in allowed)]
    asked_only = any(word in ("--help", "-h", "--version") for word in given.arguments)
    if strange:
        return Verdict("leftovers", f"beside the output: {', '.join(strange[:8])}")
    if asked_only or (result.code == _FAILED and given.environment.stdout_fails):
        return Verdict("accepted correctly", "help or version" if asked_only else "its output could not be printed")
    if given.environment.stdout_fails:
        return Verdict("accepted wrongly", "its output was lost and the exit code is 0")
    try:
        wrong = oracles.CHECKS[RECIPES[given.command].check](given, folder / "workspace", result)
    except Exception as error:
        wrong = f"the output cannot be read: {type(error).__name__}: {error}"
    return Verdict("accepted wrongly", wrong) if wrong else Verdict("accepted correctly")


def _changes_home(given: Input) -> bool:
    return any(path.startswith("../home") for path in RECIPES[given.command].changes)


def _is_partial(given: Input, result: CallResult, changed: list[str]) -> bool:
    """Whether a batch ended with failed cases, which has the same exit code as other failures."""
    if not given.command.startswith("batch") or result.code != _FAILED:
        return False
    if given.environment.stdout_readable:
        return bool(re.search(r": \d+ (done|failed)", result.stdout))
    return any(name.endswith("/status.csv") for name in changed)


def _may_stay(given: Input, folder: Path, name: str) -> bool:
    """Whether an incomplete call keeps a file as documented: the job, finished trials, the lock of a library."""
    kept = RECIPES[given.command].changes
    if given.environment.largest_file is not None and any(_is_within(name, f"workspace/{path}") for path in kept):
        return True  # results finished before the disk was full, with tables and logs
    home = _relative(folder, str(given.environment.data_folder(folder)))
    return (
        name in (home, f"{home}/library", f"{home}/weights")
        or (name.startswith(f"{home}/") and name.endswith(".lock"))
        or _is_within(home, name)
        or (
            given.command.endswith("--resume")
            and any(_is_within(name, f"workspace/{path}") for path in kept)
            and "lock" in name
        )
    )


def _unclear(given: Input, folder: Path, result: CallResult) -> str:
    """Why the messages are not clear; empty if they are."""
    lines = [line for line in result.stderr.split("\n") if line.strip() and not _ACTIVITY.fullmatch(line)]
    if control := _CONTROL.search(
        result.stderr if "--progress=bar" not in given.arguments else ""
    ) or _CONTROL.search(result.stdout):
        return f"control character {control[0]!r} on a stream"
    if {"--progress=bar", "--progress=json"} & set(given.arguments) or (
        "--progress" in given.arguments and "none" not in given.arguments
    ):
        lines = [line for line in lines if line.startswith(_OURS)]
    for line in lines:
        if not line.startswith(_OURS) and "download" not in given.arguments:  # which shows the licence first
            return f"a line of another program: {line[:300]}"
        if len(line) > _LONGEST_LINE:
            return f"a line of {len(line)} characters: {line[:100]}"
        if found := _LIBRARY.search(line):
            return f"a term of a library ({found[0]}): {line[:300]}"
    if result.code == _DONE:
        return ""
    refusals = [line for line in lines if line.startswith(_OURS[0])]
    if not refusals and given.environment.stdout == NO_READER:
        return ""
    if not refusals:
        return f"no line gives a reason: {lines[-1:]}"
    if not any(_names_input(given, folder, line) for line in refusals):
        return f"names no input: {refusals[-1][:300]}"
    return ""


def _names_input(given: Input, folder: Path, line: str) -> bool:
    names = [
        part for word in given.arguments for part in (word, *word.partition("=")[::2], *re.split(r"[^\w.]+", word))
    ]
    names += [part for word in given.arguments for part in (os.path.basename(word), os.path.normpath(word))]  # noqa: PTH119
    names += ["''"] if "" in (word.rpartition("=")[2] for word in given.arguments) else []
    names += [path.name for path in (*(folder / "workspace").iterdir(), *(folder / "home").rglob("*"))]
    names += ["argument", "arguments", "row "]
    for variable, value in given.environment.variables.items():
        names += [variable, value or ""]
    names += ["output cannot be printed"] if given.environment.stdout_fails else []
    names += ["current folder"] if given.environment.folder else []
    return any(name and printable(name).strip()[:100] in line for name in names)


def _secret(given: Input, folder: Path, both: str, changed: list[str]) -> str:
    given = " ".join(given.arguments)
    texts = {"a stream": both}
    for name in changed:
        path = folder / name
        if name.endswith(_LOGS) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                texts[name] = path.read_bytes().decode("utf-8", "replace")
    for where, text in texts.items():
        for word in PRIVATE:
            if word in text and word not in given:
                return f"{word} on {where}"
    return ""


def _relative(folder: Path, path: str) -> str:
    return os.path.relpath(os.path.join(folder, "workspace", path), folder)  # noqa: PTH118


def _is_within(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}/")


def _described(name: str, before: Mapping[str, tuple[object, ...]], after: Mapping[str, tuple[object, ...]]) -> str:
    return f"{name!r} {'new' if name not in before else 'gone' if name not in after else 'changed'}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:400] if lines else ""
