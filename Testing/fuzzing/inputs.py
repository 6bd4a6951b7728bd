"""Inputs of every command: a valid call with one or two changes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fewshot_annotate.core.paths import is_file, is_folder, is_link, is_plain_file

from . import odd_values, odd_voxels
from .command_environment import CommandEnvironment, random_environment
from .damage import damage
from .odd_files import make_odd
from .recipes import RECIPES

# Relative frequency of each kind of change, among those that an input allows.
STEPS = {
    "content": 32,
    "file": 14,
    "name": 9,
    "output": 10,
    "option": 22,
    "arguments": 6,
    "environment": 12,
    "voxels": 12,
    "nothing": 7,
}
_DAMAGED_BYTES = 1 << 24
_FLAGS = (
    "--resample",
    "--crop",
    "--partial",
    "--resume",
    "--overwrite",
    "--yes",
    "--version",
    "--bogus",
    "--progress=json",
    "--progress=bar",
)


@dataclass(kw_only=True)
class Input:
    """An input of a command.

    Attributes
    ----------
    command : str
    number : int
    arguments : list of str
    steps : list of str
        The changes, in words.
    files, outputs : dict of str to str
        By their names in the recipe; paths as in `arguments`.
    environment : CommandEnvironment
        Environment of the command.
    """

    command: str
    number: int
    arguments: list[str]
    steps: list[str]
    files: dict[str, str]
    outputs: dict[str, str]
    environment: CommandEnvironment = field(default_factory=CommandEnvironment)


class _Maker:
    """Makes one input in a workspace of its own."""

    def __init__(self, command: str, number: int, seed: int, workspace: Path) -> None:
        self.recipe, self.workspace = RECIPES[command], workspace
        self.random = random = Random(f"{seed} {command} {number}")
        self.steps: list[str] = []
        self.files = dict(random.choice(self.recipe.files))
        self.arguments = self.recipe.arguments.split()
        self.outputs = {name: "out" + random.choice(suffixes) for name, suffixes in self.recipe.outputs.items()}
        if "kind" in self.files:
            suffix = {"nifti": ".nii.gz", "nrrd": ".nrrd", "seg-nrrd": ".seg.nrrd"}[self.files["kind"]]
            self.outputs["out"] = f"out{suffix}"
        if "series" in self.outputs:
            self.outputs["series"] = "derived"
        self.input = Input(
            command=command, number=number, arguments=[], steps=self.steps, files=self.files, outputs=self.outputs
        )

    def make(self, kinds: Sequence[str]) -> Input:
        """Make changes of these kinds, and put the file names into the arguments."""
        for _ in range(self.random.choice((1, 1, 1, 2))):
            kind = self.random.choices(kinds, [STEPS[kind] for kind in kinds])[0]
            step: Callable[[], str] = getattr(self, f"_{kind}")
            self.steps.append(f"{kind}: {step()}")
        named = {**self.files, **self.outputs}
        if self.input.environment.folder:
            named = {name: self._absolute(name, path) for name, path in named.items()}
        self.input.arguments = [
            named.get(word[1:-1], word) if word[:1] == "{" and word[-1:] == "}" else word for word in self.arguments
        ] + self.recipe.ending.split()
        if (
            "{out}" in self.recipe.arguments and "-o" in self.input.arguments[:-1]
        ):  # an odd argument may have replaced it
            self.outputs["out"] = self.input.arguments[self.input.arguments.index("-o") + 1]
        return self.input

    def _absolute(self, name: str, path: str) -> str:
        return str(self.workspace / path) if name in self.outputs or os.path.lexists(self.workspace / path) else path

    def _environment(self) -> str:
        text, self.input.environment = random_environment(self.random, self.workspace.parent)
        return text

    def _nothing(self) -> str:
        return "nothing"

    def _content(self) -> str:
        path = self._file_read()
        if path is None:
            return self._option()
        return f"{path.name} damaged: {damage(self.random, path)}"

    def _voxels(self) -> str:
        paths = [
            self.workspace / name for name in self.files.values() if odd_voxels.is_supported(self.workspace / name)
        ]
        paths = [path for path in paths if is_plain_file(path)]
        if not paths:
            return self._content()
        path = self.random.choice(paths)
        with contextlib.suppress(Exception):  # it may have been damaged before
            return f"{path.name} with unusual voxels: {odd_voxels.make_odd_voxels(self.random, path)}"
        return f"{path.name} as it is"

    def _file(self) -> str:
        path = self._path_read(self.random.random() < 0.5)
        if path is None:
            return self._option()
        others = [
            self.workspace / name
            for name in ("image.nii.gz", "support.nii.gz", "cases.csv", "seg.dcm", "series", "job")
        ]
        return f"{path.name} is {make_odd(self.random, path, others)}"

    def _name(self) -> str:
        names = [name for name in self.files if os.path.isfile(self.workspace / self.files[name])]  # noqa: PTH113
        if not names:
            return self._option()
        name = self.random.choice(names)
        path = self.workspace / self.files[name]
        suffix = path.name[path.name.index(".") :]
        if self.random.random() < 0.15:
            new = odd_values.impossible_name(self.random, suffix)
        else:
            new = odd_values.odd_name(self.random, suffix)
            path.rename(self.workspace / new)
        self.files[name] = new
        return f"{name} is named {new[:40]!r}"

    def _output(self) -> str:
        if not self.outputs:
            return self._option()
        name = self.random.choice(list(self.outputs))
        suffix = "".join(Path(self.outputs[name]).suffixes)
        self.outputs[name] = new = self._odd_output(suffix)
        return f"{name} is {new[:60]!r}"

    def _odd_output(self, suffix: str) -> str:
        workspace, random = self.workspace, self.random
        kind = random.randrange(17)
        if kind < 3:
            return odd_values.odd_name(random, suffix)
        if kind == 3:
            return odd_values.impossible_name(random, suffix)
        if kind == 4:
            return random.choice(
                ("no/such" + suffix, "", ".", "..", "/", "out", "out.txt", "out.png", suffix, "a/" * 50)
            )
        if kind == 5:
            return random.choice(("/dev/full", "/dev/null", "/proc/out" + suffix, "/sys/out" + suffix, "/dev/stdout"))
        if kind == 6:
            return random.choice([*self.files.values(), "image.nii.gz", "series/x" + suffix])
        path = workspace / f"out{suffix}"
        if os.path.lexists(path) or os.path.lexists(workspace / "closed"):  # by an earlier step
            return path.name
        if kind == 7:
            path.symlink_to(random.choice([*self.files.values(), "image.nii.gz"]))
        elif kind == 8:
            path.symlink_to(path.name)
        elif kind == 9:
            path.symlink_to("elsewhere/nowhere")
        elif kind == 10:
            os.mkfifo(path)
        elif kind == 11:
            path.mkdir()
        elif kind == 12:
            path.mkdir()
            (path / "precious.txt").write_text("precious", encoding="ascii")
        elif kind == 13:
            (workspace / "closed").mkdir(0o500)
            return f"closed/out{suffix}"
        elif kind == 14:
            (workspace / "shut").mkdir(0)
            return f"shut/out{suffix}"
        elif kind == 15:
            path.symlink_to("/dev/full")
        else:
            path.write_bytes(b"precious")
        return path.name

    def _option(self) -> str:
        if not self.recipe.options or self.random.random() < 0.1:
            return self._arguments()
        flag = self.random.choice(list(self.recipe.options))
        if self.recipe.options[flag] == "nothing":
            self.arguments.append(flag)
            return flag
        value = odd_values.odd_value(self.random, self.recipe.options[flag])
        if flag == "--confidence" and self.random.random() < 0.8:
            value = self.random.choice(("sure.nii.gz", "sure.nrrd", "sure.seg.nrrd", self._odd_output(".nii.gz")))
            self.outputs["confidence"] = value
        if flag == "--structures" and self.random.random() < 0.7:
            value = "structures.csv"
            if self.random.random() < 0.7:
                damage(self.random, self.workspace / value)
        self.arguments += [f"{flag}={value}"] if self.random.random() < 0.8 else [flag, value]
        return f"{flag}={value[:40]!r}"

    def _arguments(self) -> str:
        random, arguments = self.random, self.arguments
        at = random.randrange(len(arguments))
        kind = random.randrange(6)
        if kind == 0:
            return f"without {arguments.pop(at)!r}"
        if kind == 1:
            arguments.insert(at, arguments[at])
            return f"{arguments[at]!r} twice"
        if kind == 2:
            other = random.randrange(len(arguments))
            arguments[at], arguments[other] = arguments[other], arguments[at]
            return f"{arguments[at]!r} and {arguments[other]!r} exchanged"
        if kind == 3:
            arguments.append(random.choice(_FLAGS))
            return f"also {arguments[-1]}"
        odd = odd_values.odd_value(random, random.choice(list(odd_values.KINDS)))
        if kind == 4:
            arguments.insert(at, odd)
            return f"also {odd[:40]!r}"
        arguments[at] = odd
        return f"an argument is {odd[:40]!r}"

    def _path_read(self, whole_folder: bool) -> Path | None:
        """A file or folder that the command reads; a file within a folder, unless `whole_folder`."""
        names = [*self.files.values(), *self.files.values(), *self.recipe.damageable]
        paths = [self.workspace / name for name in names if os.path.lexists(self.workspace / name)]
        paths = [path for path in paths if not is_link(path)]
        if not paths:
            return None
        path = self.random.choice(paths)
        if is_folder(path) and not whole_folder:
            inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
            return self.random.choice(inside) if inside else path
        return path

    def _file_read(self) -> Path | None:
        path = self._path_read(False)
        small = path is not None and is_file(path) and path.stat().st_size <= _DAMAGED_BYTES
        return path if small else None


def make_input(
    command: str, number: int, seed: int, originals: Path, folder: Path, kinds: Sequence[str] = tuple(STEPS)
) -> Input:
    """Copy the originals to `folder` and make one input of them."""
    folder.mkdir(parents=True)
    for name in ("workspace", "home"):
        shutil.copytree(originals / name, folder / name, symlinks=True)
    for name in ("tmp", "user"):
        (folder / name).mkdir()
    return _Maker(command, number, seed, folder / "workspace").make(kinds)
