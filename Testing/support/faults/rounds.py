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
from support.faults.running import CommandResult, Disturbance, Workspace, in_child, run

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


@dataclass(kw_only=True)
class Reference:
    """What a command does without faults."""

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
        Whether disks can be mounted, see `private_mounts`.
    """

    def __init__(self, folder: Path, can_mount: bool) -> None:
        self.workspace = Workspace(folder / "workspace")
        self.can_mount = can_mount
        self._templates = folder / "templates"
        self._references: dict[str, Reference] = {}

    # --- without faults

    def reference(self, command: Command) -> Reference:
        """Result of the command without a fault, measured on the first call."""
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
        completed = run(command.start(workspace), workspace, Disturbance(stages, self._plan("none", 0)))
        after = self._facts(command)
        incomplete = [f"{key}: {value}" for key, value in after.items() if value in (NOTHING, BROKEN)]
        if completed.code or any(value == BROKEN for value in after.values()):
            raise RuntimeError(f"{command.name} fails without a fault: {completed.err} {incomplete}")
        pages = _pages_below(workspace.outputs) - used
        largest = max((p.stat().st_size for p in workspace.folder.rglob("*") if p.is_file()), default=0)
        tree = {kind: (workspace.records / f"count-{kind}").stat().st_size for kind in TreeFaults.kinds}
        return Reference(
            before=before,
            after=after,
            counts=completed.counts,
            renames=completed.renames,
            tree=tree,
            seconds=completed.seconds,
            pages=pages,
            largest=largest,
        )

    def _template(self, command: Command) -> Path:
        return self._templates / re.sub(r"\W+", "-", command.name)

    def _plan(self, kind: str, at: int, everything: bool = True, kill_all: bool = False) -> dict[str, Any]:
        under = self.workspace.folder if everything else self.workspace.outputs
        return {"kind": kind, "at": at, "under": str(under), "notes": str(self.workspace.records), "all": kill_all}

    def _facts(self, command: Command) -> Facts:
        return in_child(lambda: dict(command.facts(self.workspace)), self.workspace)

    # --- with faults

    def signal(self, command: Command, name: str, stage: str, generator: random.Random) -> Round:
        """A signal at an event of a stage, or at any time."""
        reference = self.reference(command)
        group = generator.random() < 0.5
        number = getattr(signal, name)
        receiver = "all" if group else "one"
        self.workspace.restore(self._template(command))
        if stage == "any time":
            seconds = generator.uniform(0, 1.1 * reference.seconds)
            disturbance = Disturbance(after=(seconds, number, group))
            how = f"{name} after {seconds:.3f} s to {receiver}"
        else:
            writes = max(1, reference.renames)
            stages = Stages(dict(command.marks), writes)
            at = generator.randint(1, max(1, reference.counts.get(stage, 1)))
            stages.plan(stage, at, number, group)
            disturbance = Disturbance(stages)
            how = f"{name} at event {at} of {stage} to {receiver}"
        result = Round(f"{name} {stage}", command.name, how)
        completed = self._disturbed(command, disturbance)
        killed = name == "SIGKILL"
        after = self._observe(command, reference, completed, result)
        if stage != "any time" and not killed:
            result.reached = completed.signalled
        complete = after == reference.after
        allowed = (-number,) if killed else (_CANCELLED,)
        if stage == "any time" and after == reference.before:  # before the program has begun
            allowed = (*allowed, -number)
        if completed.code not in allowed and not (completed.code == 0 and complete):
            result.findings.append(Finding("wrong exit code", f"{completed.code}: {completed.err[:300]}"))
        output_changed = complete and reference.before != reference.after
        if output_changed and completed.code == _CANCELLED and "no output" in completed.err:
            result.findings.append(Finding("unclear message", f"there is output: {completed.err[:300]}"))
        if not killed:
            self._require_message(completed, result)
            self._require_tidy(result)
        self._require_same_after_resuming(command, reference, result, killed)
        return result

    def kill_at_rename(self, command: Command, at: int, kill_all: bool) -> Round:
        """SIGKILL just before the n-th rename: of all processes, or only of the one that renames."""
        reference = self.reference(command)
        self.workspace.restore(self._template(command))
        how = f"at rename {at} of {reference.tree['rename']}, {'all processes' if kill_all else 'one process'}"
        result = Round("SIGKILL at a rename", command.name, how)
        completed = self._disturbed(command, Disturbance(tree=self._plan("rename", at, True, kill_all)))
        self._observe(command, reference, completed, result)
        if completed.code not in (-signal.SIGKILL, 0, 1):
            result.findings.append(Finding("wrong exit code", f"{completed.code}: {completed.err[:300]}"))
        self._require_same_after_resuming(command, reference, result, True)
        return result

    def full(self, command: Command, kind: str, at: int, everything: bool) -> Round:
        """A full disk: few free pages on a real one, failure of the n-th file opened or flushed, or a size limit."""
        reference = self.reference(command)
        everything = everything and command.program is None  # Slicer's own files are not checked
        where = "everywhere" if everything else "in the folder of results"
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
        completed = self._disturbed(command, disturbance)
        after = self._observe(command, reference, completed, result)
        complete = after == reference.after
        if (completed.code == 0 and not complete) or completed.code < 0:
            result.findings.append(Finding("wrong exit code", f"{completed.code} {after}: {completed.err[:300]}"))
        self._require_message(completed, result)
        self._require_kept(command, reference, completed, result)
        self._require_tidy(result)
        with self._enlarged_disk():
            self._require_same_after_resuming(command, reference, result, False)

    def _disturbed(self, command: Command, disturbance: Disturbance) -> CommandResult:
        self._given = _contents(self.workspace.inputs)
        return run(command.start(self.workspace), self.workspace, disturbance)

    def _observe(self, command: Command, reference: Reference, completed: CommandResult, result: Round) -> Facts:
        """Content of the files now; each must be as before or as expected."""
        if _contents(self.workspace.inputs) != self._given:
            result.findings.append(Finding("lost", "the user's files have changed"))
        if completed.left:
            result.findings.append(Finding("left behind", f"{completed.left} processes"))
        try:
            after = self._facts(command)
        except RuntimeError as error:
            result.findings.append(Finding("lost", f"the output cannot be read: {str(error)[-300:]}"))
            return {}
        # A comparison continues without the trial of a killed process, and reports it.
        if not (completed.code == 1 and ("Not compared" in completed.out or "No figure on" in completed.out)):
            self._require_old_or_new(command, reference, after, result)
        return after

    def _require_old_or_new(self, command: Command, reference: Reference, after: Facts, result: Round) -> None:
        for part, value in after.items():
            old, new = reference.before.get(part, NOTHING), reference.after.get(part)
            if part in command.kept and value != old:
                result.findings.append(Finding("lost", f"{part} has changed: {value}"))
            elif value not in (old, new) and part != "all done":
                result.findings.append(Finding("lost", f"{part} is neither old nor new: {value}"))

    def _require_message(self, completed: CommandResult, result: Round) -> None:
        """Messages must be one clear line each, without those of Python."""
        lines = [line for line in completed.err.splitlines() if line.strip()]
        wrong = [line for line in lines if not _CLEAR.match(line)]
        if wrong or "Traceback" in completed.out:
            result.findings.append(Finding("unclear message", " / ".join(wrong)[:600]))
        elif completed.code > 0 and not lines and "failed" not in completed.out:
            result.findings.append(Finding("unclear message", f"no message, exit code {completed.code}"))
        elif "unexpected" in completed.err:
            result.findings.append(Finding("unclear message", completed.err[:300]))

    def _require_kept(self, command: Command, reference: Reference, completed: CommandResult, result: Round) -> None:
        """A result that was kept in another folder must be complete and named in a message."""
        rows = self.workspace.outputs / "batch" / "status.csv"
        messages = completed.err + (rows.read_text() if rows.exists() else "")
        for folder in self.workspace.folder.rglob(f"{KEPT_PREFIX}*"):
            for file in folder.iterdir():
                if file.name.endswith(".labels.json"):
                    continue
                if str(file) not in messages:
                    result.findings.append(Finding("unclear message", f"{file.name} is kept but not reported"))
                fact = in_child(lambda file=file: _kept_fact(file), self.workspace)
                if fact not in list(reference.after.values()):
                    result.findings.append(Finding("lost", f"{file.name}, kept elsewhere, is {fact}"))

    def _require_tidy(self, result: Round, but: Callable[[Path], bool] = lambda path: False) -> None:
        """The temporary folder must be empty, and there must be no hidden file beside the results."""
        left = [
            path for path in self.workspace.tmp.iterdir() if not path.name.startswith((KEPT_PREFIX, "slicer-home"))
        ]
        for folder in (self.workspace.outputs, self.workspace.data, self.workspace.folder / "home"):
            left += [*folder.rglob(".fsa-*"), *folder.rglob("*.copy")]
        left += [path for path in (self.workspace.outputs / "report" / "working",) if path.exists()]
        left = [path for path in left if path.exists() and not but(path) and not _is_probe_of_python(path)]
        if left:
            names = ", ".join(str(path.relative_to(self.workspace.folder)) for path in left)
            result.findings.append(Finding("left behind", names))

    def _require_same_after_resuming(
        self, command: Command, reference: Reference, result: Round, killed: bool
    ) -> None:
        """Resume the command: the result must be as without a fault, without temporary files."""
        before = self._facts(command) if not any(one.kind == "lost" for one in result.findings) else {}
        if before == reference.after:
            # every start of the program removes the temporary files of a killed one
            arguments = ["library", "list"]
            completed = run(lambda: main(arguments), self.workspace)
            # hidden files beside results are removed when a result is written there again
            self._require_tidy(result, lambda path: killed and self.workspace.tmp not in path.parents)
            return
        completed = run(command.resume(self.workspace), self.workspace)
        if completed.code:
            result.findings.append(Finding("lost", f"cannot be resumed: {completed.code} {completed.err[:300]}"))
            return
        after = self._facts(command)
        different = [part for part in reference.after if after.get(part) != reference.after[part]]
        if different:
            values = {part: after.get(part) for part in different}
            result.findings.append(Finding("lost", f"after resuming, these differ: {values}"))
        self._require_tidy(result)

    # --- disks

    @contextlib.contextmanager
    def _small_disk(self, command: Command, pages: int, everything: bool) -> Iterator[None]:
        """The workspace on a separate disk with this number of free pages."""
        workspace = self.workspace
        workspace.make()
        folder = workspace.folder if everything else workspace.outputs
        mount_disk(folder, _LARGE_DISK)
        try:
            workspace.restore(self._template(command))
            disk = os.statvfs(folder)
            used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize // _PAGE
            self._enlarge_disk = lambda: mount_disk(folder, _LARGE_DISK, again=True)
            mount_disk(folder, max(1, used + pages) * _PAGE, again=True)
            yield
        finally:
            self._enlarge_disk = lambda: None
            unmount_disk(folder)

    _enlarge_disk: Callable[[], None] = staticmethod(lambda: None)

    @contextlib.contextmanager
    def _enlarged_disk(self) -> Iterator[None]:
        self._enlarge_disk()
        yield


def _is_probe_of_python(path: Path) -> bool:
    """Whether a file is Python's probe for a folder of temporary files, whose name has four letters."""
    return path.is_file() and path.read_bytes() in (b"", b"blat")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _pages_below(folder: Path) -> int:
    """Pages of a disk that the files below a folder need."""
    return sum(-(-path.stat().st_size // _PAGE) if path.is_file() else 1 for path in folder.rglob("*"))


def _kept_fact(file: Path) -> Any:
    return image_fact(file) if "confidence" in file.name else label_fact(file)


def moments() -> tuple[str, ...]:
    """Stages at which signals are sent."""
    return (*STAGES, "any time")
