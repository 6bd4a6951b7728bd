"""Rounds: a fault is injected, the files are checked, the command is resumed, and the result must be the same."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot_annotate.cli import main
from fewshot_annotate.core.results import KEPT_PREFIX

from support.disk import mount_disk, unmount_disk
from support.faults.command import Command, Facts
from support.faults.content import BROKEN, NOTHING, image_fact, label_fact
from support.faults.hook import STAGES, Stages, TreeFaults
from support.faults.running import Disturbance, Ended, Workspace, in_child, run

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGKILL")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# A message, or the progress of a command that takes long.
_CLEAR = re.compile(r"^(fewshot-annotate|Note): \S.{5,}|^[A-Z][\w -]* \.\.\.$|^Searching( \d+ %)? \(.*\)$")
_CANCELLED = 130
_LARGE_DISK = 1 << 28


@dataclass
class Finding:
    """Something wrong in one round."""

    kind: str  # a column of the table
    text: str


@dataclass
class Round:
    """One fault injected into one command, and its findings."""

    fault: str
    command: str
    how: str
    findings: list[Finding] = field(default_factory=list)
    reached: bool = True


@dataclass
class Reference:
    """A command as it is without faults."""

    before: Facts
    after: Facts
    counts: dict[str, int]
    renames: int
    tree: dict[str, int]
    seconds: float
    pages: int
    largest: int


class FaultRunner:
    """Runs commands with injected faults in one workspace.

    Parameters
    ----------
    folder : Path
        An empty folder for workspace and templates.
    can_mount : bool
        Whether disks of their own can be had, see `private_mounts`.
    """

    def __init__(self, folder: Path, can_mount: bool) -> None:
        self.workspace = Workspace(folder / "workspace")
        self.can_mount = can_mount
        self._templates = folder / "templates"
        self._references: dict[str, Reference] = {}

    # --- without faults

    def reference(self, command: Command) -> Reference:
        """Result of the command without a fault; it is run for that the first time."""
        if command.name not in self._references:
            self._references[command.name] = self._measure(command)
        return self._references[command.name]

    def _measure(self, command: Command) -> Reference:
        workspace = self.workspace
        workspace.make()
        in_child(lambda: command.prepare(workspace), workspace)
        shutil.rmtree(self._template(command), ignore_errors=True)
        shutil.copytree(workspace.folder, self._template(command), symlinks=True)
        before = self._facts(command)
        used = _pages_below(workspace.outputs)
        stages = Stages(dict(command.marks))
        ended = run(command.start(workspace), workspace, Disturbance(stages, self._plan("none", 0)))
        after = self._facts(command)
        trouble = [f"{key}: {value}" for key, value in after.items() if value in (NOTHING, BROKEN)]
        if ended.code or any(value == BROKEN for value in after.values()):
            raise RuntimeError(f"{command.name} does not work undisturbed: {ended.err} {trouble}")
        pages = _pages_below(workspace.outputs) - used
        largest = max((p.stat().st_size for p in workspace.folder.rglob("*") if p.is_file()), default=0)
        tree = {kind: (workspace.records / f"count-{kind}").stat().st_size for kind in TreeFaults.kinds}
        return Reference(before, after, ended.counts, ended.renames, tree, ended.seconds, pages, largest)

    def _template(self, command: Command) -> Path:
        return self._templates / re.sub(r"\W+", "-", command.name)

    def _plan(self, kind: str, at: int, everything: bool = True, all_die: bool = False) -> dict[str, Any]:
        under = self.workspace.folder if everything else self.workspace.outputs
        return {"kind": kind, "at": at, "under": str(under), "notes": str(self.workspace.records), "all": all_die}

    def _facts(self, command: Command) -> Facts:
        return in_child(lambda: dict(command.facts(self.workspace)), self.workspace)

    # --- with faults

    def signal(self, command: Command, name: str, stage: str, chance: random.Random) -> Round:
        """A signal at an event of a stage, or at any time."""
        reference = self.reference(command)
        group = chance.random() < 0.5
        number = getattr(signal, name)
        whom = "all" if group else "one"
        self.workspace.restore(self._template(command))
        if stage == "any time":
            seconds = chance.uniform(0, 1.1 * reference.seconds)
            disturbance = Disturbance(after=(seconds, number, group))
            how = f"{name} after {seconds:.3f} s to {whom}"
        else:
            writes = max(1, reference.renames)
            stages = Stages(dict(command.marks), writes)
            at = chance.randint(1, max(1, reference.counts.get(stage, 1)))
            stages.plan(stage, at, number, group)
            disturbance = Disturbance(stages)
            how = f"{name} at event {at} of {stage} to {whom}"
        result = Round(f"{name} {stage}", command.name, how)
        ended = self._disturbed(command, disturbance)
        killed = name == "SIGKILL"
        after = self._observe(command, reference, ended, result)
        if stage != "any time" and not killed:
            result.reached = ended.signalled
        complete = after == reference.after
        allowed = (-number,) if killed else (_CANCELLED,)
        if stage == "any time" and after == reference.before:  # before the program has begun
            allowed = (*allowed, -number)
        if ended.code not in allowed and not (ended.code == 0 and complete):
            result.findings.append(Finding("wrong exit code", f"{ended.code}: {ended.err[:300]}"))
        came = complete and reference.before != reference.after
        if came and ended.code == _CANCELLED and "no output" in ended.err:
            result.findings.append(Finding("unclear message", f"the output is there: {ended.err[:300]}"))
        if not killed:
            self._require_message(ended, result)
            self._require_tidy(result)
        self._require_same_in_the_end(command, reference, result, killed)
        return result

    def kill_at_rename(self, command: Command, at: int, all_die: bool) -> Round:
        """SIGKILL just before the n-th rename: of all processes, or only of the one that renames."""
        reference = self.reference(command)
        self.workspace.restore(self._template(command))
        how = f"at rename {at} of {reference.tree['rename']}, {'all processes' if all_die else 'one process'}"
        result = Round("SIGKILL at a rename", command.name, how)
        ended = self._disturbed(command, Disturbance(tree=self._plan("rename", at, True, all_die)))
        self._observe(command, reference, ended, result)
        if ended.code not in (-signal.SIGKILL, 0, 1):
            result.findings.append(Finding("wrong exit code", f"{ended.code}: {ended.err[:300]}"))
        self._require_same_in_the_end(command, reference, result, True)
        return result

    def full(self, command: Command, kind: str, at: int, everything: bool) -> Round:
        """A full disk: pages left on a real one, the n-th file opened or brought to the disk, or a longest file."""
        reference = self.reference(command)
        everything = everything and command.program is None  # Slicer's own files are not looked at
        where = "everywhere" if everything else "where results go"
        result = Round(f"disk full, {kind}", command.name, f"{kind} {at}, {where}")
        if kind == "pages":
            with self._small_disk(command, at, everything):
                self._full(command, reference, Disturbance(), result, everything)
            return result
        self.workspace.restore(self._template(command))
        disturbance = (
            Disturbance(largest=at) if kind == "size" else Disturbance(tree=self._plan(kind, at, everything))
        )
        self._full(command, reference, disturbance, result, everything)
        return result

    def _full(
        self, command: Command, reference: Reference, disturbance: Disturbance, result: Round, everything: bool
    ) -> None:
        ended = self._disturbed(command, disturbance)
        after = self._observe(command, reference, ended, result)
        complete = after == reference.after
        if (ended.code == 0 and not complete) or ended.code < 0:
            result.findings.append(Finding("wrong exit code", f"{ended.code} {after}: {ended.err[:300]}"))
        self._require_message(ended, result)
        self._require_kept(command, reference, ended, result)
        self._require_tidy(result)
        with self._room():
            self._require_same_in_the_end(command, reference, result, False)

    def _disturbed(self, command: Command, disturbance: Disturbance) -> Ended:
        self._given = _contents(self.workspace.inputs)
        ended = run(command.start(self.workspace), self.workspace, disturbance)
        return ended

    def _observe(self, command: Command, reference: Reference, ended: Ended, result: Round) -> Facts:
        """Content of the files now; each must be as before or as expected."""
        if _contents(self.workspace.inputs) != self._given:
            result.findings.append(Finding("lost", "the person's files are not as they were"))
        if ended.left:
            result.findings.append(Finding("left behind", f"{ended.left} processes"))
        try:
            after = self._facts(command)
        except RuntimeError as error:
            result.findings.append(Finding("lost", f"the output cannot be read: {str(error)[-300:]}"))
            return {}
        # A comparison goes on without the trial of a killed process, and says so.
        if not (ended.code == 1 and ("Not compared" in ended.out or "No figure on" in ended.out)):
            self._require_old_or_new(command, reference, after, result)
        return after

    def _require_old_or_new(self, command: Command, reference: Reference, after: Facts, result: Round) -> None:
        for part, value in after.items():
            old, new = reference.before.get(part, NOTHING), reference.after.get(part)
            if part in command.kept and value != old:
                result.findings.append(Finding("lost", f"{part} is not as it was: {value}"))
            elif value not in (old, new) and part != "all done":
                result.findings.append(Finding("lost", f"{part} is neither old nor new: {value}"))

    def _require_message(self, ended: Ended, result: Round) -> None:
        """Messages must be one clear line each, without Python's own words."""
        lines = [line for line in ended.err.splitlines() if line.strip()]
        wrong = [line for line in lines if not _CLEAR.match(line)]
        if wrong or "Traceback" in ended.out:
            result.findings.append(Finding("unclear message", " / ".join(wrong)[:600]))
        elif ended.code > 0 and not lines and "failed" not in ended.out:
            result.findings.append(Finding("unclear message", f"no message, exit code {ended.code}"))
        elif "unexpected" in ended.err:
            result.findings.append(Finding("unclear message", ended.err[:300]))

    def _require_kept(self, command: Command, reference: Reference, ended: Ended, result: Round) -> None:
        """A result that was kept in another folder must be complete and named in a message."""
        rows = self.workspace.outputs / "batch" / "status.csv"
        messages = ended.err + (rows.read_text() if rows.exists() else "")
        for folder in self.workspace.folder.rglob(f"{KEPT_PREFIX}*"):
            for file in folder.iterdir():
                if file.name.endswith(".labels.json"):
                    continue
                if str(file) not in messages:
                    result.findings.append(Finding("unclear message", f"{file.name} is kept but not named"))
                fact = in_child(lambda file=file: _kept_fact(file), self.workspace)
                if fact not in list(reference.after.values()):
                    result.findings.append(Finding("lost", f"{file.name}, kept elsewhere, is {fact}"))

    def _require_tidy(self, result: Round, but: Callable[[Path], bool] = lambda path: False) -> None:
        """The temporary folder must be empty, and no hidden file be left beside the results."""
        left = [
            path for path in self.workspace.tmp.iterdir() if not path.name.startswith((KEPT_PREFIX, "slicer-home"))
        ]
        for place in (self.workspace.outputs, self.workspace.data, self.workspace.folder / "home"):
            left += [*place.rglob(".fsa-*"), *place.rglob("*.copy")]
        left += [path for path in (self.workspace.outputs / "report" / "working",) if path.exists()]
        left = [path for path in left if path.exists() and not but(path) and not _is_pythons(path)]
        if left:
            names = ", ".join(str(path.relative_to(self.workspace.folder)) for path in left)
            result.findings.append(Finding("left behind", names))

    def _require_same_in_the_end(self, command: Command, reference: Reference, result: Round, killed: bool) -> None:
        """Resume the command: the result must be as without a fault, and no temporary file be left."""
        before = self._facts(command) if not any(one.kind == "lost" for one in result.findings) else {}
        if before == reference.after:
            # a new start of any kind sweeps what a killed one left
            arguments = ["library", "list"]
            ended = run(lambda: main(arguments), self.workspace)
            # what lies hidden beside results goes when something is written there again
            self._require_tidy(result, lambda path: killed and self.workspace.tmp not in path.parents)
            return
        ended = run(command.resume(self.workspace), self.workspace)
        if ended.code:
            result.findings.append(Finding("lost", f"cannot be gone on with: {ended.code} {ended.err[:300]}"))
            return
        after = self._facts(command)
        different = [part for part in reference.after if after.get(part) != reference.after[part]]
        if different:
            values = {part: after.get(part) for part in different}
            result.findings.append(Finding("lost", f"gone on with, these differ: {values}"))
        self._require_tidy(result)

    # --- disks

    @contextlib.contextmanager
    def _small_disk(self, command: Command, pages: int, everything: bool) -> Iterator[None]:
        """The workspace on a disk of its own with a number of free pages."""
        workspace = self.workspace
        workspace.make()
        place = workspace.folder if everything else workspace.outputs
        mount_disk(place, _LARGE_DISK)
        try:
            workspace.restore(self._template(command))
            disk = os.statvfs(place)
            used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize // _PAGE
            self._larger = lambda: mount_disk(place, _LARGE_DISK, again=True)
            mount_disk(place, max(1, used + pages) * _PAGE, again=True)
            yield
        finally:
            self._larger = lambda: None
            unmount_disk(place)

    _larger: Callable[[], None] = staticmethod(lambda: None)

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        self._larger()
        yield


def _is_pythons(path: Path) -> bool:
    """Whether a file is Python's probe for a folder of temporary files, whose name has four letters."""
    return path.is_file() and path.read_bytes() in (b"", b"blat")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _pages_below(folder: Path) -> int:
    """Pages that a disk of its own needs for the files below a folder."""
    return sum(-(-path.stat().st_size // _PAGE) if path.is_file() else 1 for path in folder.rglob("*"))


def _kept_fact(file: Path) -> Any:
    return image_fact(file) if "confidence" in file.name else label_fact(file)


def moments() -> tuple[str, ...]:
    """Stages at which signals are sent."""
    return (*STAGES, "any time")
