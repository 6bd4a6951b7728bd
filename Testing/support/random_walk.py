"""A random walk through the panel: actions of a user and failures, with invariants that are checked after each.

An action is a name and a number, which determines on which of the present objects the action is done. So a list of
actions can be repeated, and any part of it is a valid walk, which is how the shortest one that fails is found.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.panel import Panel
from support.scene_cases import Case
from support.walk_actions import WalkActions
from support.walk_invariants import Invariants

# Relative frequency of each action.
ACTIONS = {
    "turn": 4, "turns": 5, "wait": 10, "some_slices": 8, "paint": 6, "erase": 3, "undo": 4, "redo": 2, "fill": 14,
    "cancel": 2, "keep": 3, "resume": 4, "kill_worker": 3, "review": 6, "refill": 3, "mark_slice": 3,
    "check_slice": 2, "go_to_slice": 1, "axis": 1, "engine": 1, "option": 2, "mask": 2, "add_segment": 1,
    "delete_segment": 1, "rename_segment": 1, "hide_segment": 1, "lock_segment": 2, "choose_segment": 2, "surface": 1,
    "add_volume": 1, "add_segmentation": 1, "switch": 2, "delete_volume": 1, "delete_segmentation": 1, "transform": 1,
    "leave_module": 1, "close_scene": 1, "save_and_open": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Action:
    """An action of the user, or a failure; `number` determines on which object."""

    name: str
    number: int

    def __str__(self) -> str:
        return f'("{self.name}", {self.number})'


class Walk:
    """A panel on an empty scene, on which actions are done.

    Parameters
    ----------
    panel : Panel
    case : Case
        Source of the volumes and segmentations that are added.
    folder : Path
        For saved scenes.
    read_stderr : function
        Returns what was printed to stderr since the last call.
    """

    def __init__(self, panel: Panel, case: Case, folder: Path, read_stderr: Callable[[], str]) -> None:
        self._panel = panel
        self._invariants = Invariants(panel, read_stderr)
        self._actions = WalkActions(panel, case, folder, self._invariants)
        self.do(Action("add_volume", 0))
        self.do(Action("add_segmentation", 0))

    @property
    def commits(self) -> int:
        """How many runs were committed."""
        return self._invariants.commits

    def do(self, action: Action) -> None:
        """Do an action and check all invariants.

        Raises
        ------
        BrokenInvariantError
        """
        self._invariants.check_around(lambda: self._actions.do(action.name, action.number))

    def finish(self) -> None:
        """End the run, if there is one; no process may be left."""
        self._panel.controller.cancel(keep=False)
        self._invariants.require_nothing_left()


def random_actions(seed: int, count: int) -> list[Action]:
    """A list of actions, always the same for a seed."""
    chooser = random.Random(seed)
    names = chooser.choices(list(ACTIONS), list(ACTIONS.values()), k=count)
    return [Action(name, chooser.randrange(1 << 16)) for name in names]


def shortest(actions: Sequence[Action], fails: Callable[[Sequence[Action]], bool], seconds: float) -> list[Action]:
    """The shortest list found within the given time that still fails; parts are left out repeatedly."""
    end = time.monotonic() + seconds
    found, size = list(actions), max(1, len(actions) // 2)
    while time.monotonic() < end:
        for start in range(0, len(found), size):
            fewer = found[:start] + found[start + size :]
            if time.monotonic() > end:
                break
            if fewer != found and fails(fewer):
                found = fewer
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return found
