"""A random walk through the panel: actions of a user and failures, and the promises checked after each of them.

An action is a name and a number; the number decides what the action is done to, given what is there. So a list of
actions can be repeated, and any part of a list is a walk again, which is how the shortest that fails is found.
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
from support.walk_promises import Promises

# How often each is done, in relation to the others.
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
    """Something that is done; `number` decides to what."""

    name: str
    number: int

    def __str__(self) -> str:
        return f'("{self.name}", {self.number})'


class Walk:
    """A panel on an empty scene, and what is done to it.

    Parameters
    ----------
    panel : Panel
    case : Case
        What volumes and segmentations are made of.
    folder : Path
        For saved scenes.
    complaints : function
        Gives what was printed to stderr since the last call.
    """

    def __init__(self, panel: Panel, case: Case, folder: Path, complaints: Callable[[], str]) -> None:
        self._panel = panel
        self._promises = Promises(panel, complaints)
        self._actions = WalkActions(panel, case, folder, self._promises)
        self.do(Action("add_volume", 0))
        self.do(Action("add_segmentation", 0))

    @property
    def commits(self) -> int:
        """How many runs were committed."""
        return self._promises.commits

    def do(self, action: Action) -> None:
        """Do an action and check all promises.

        Raises
        ------
        BrokenPromiseError
        """
        self._promises.keep_through(lambda: self._actions.do(action.name, action.number))

    def finish(self) -> None:
        """End the run, if there is one; no process may be left."""
        self._panel.controller.cancel(keep=False)
        self._promises.nothing_left()


def random_actions(seed: int, count: int) -> list[Action]:
    """A list of actions, always the same for a seed."""
    chooser = random.Random(seed)
    names = chooser.choices(list(ACTIONS), list(ACTIONS.values()), k=count)
    return [Action(name, chooser.randrange(1 << 16)) for name in names]


def shortest(actions: Sequence[Action], fails: Callable[[Sequence[Action]], bool], seconds: float) -> list[Action]:
    """A list as short as could be found within some seconds that still fails; parts are left out again and again."""
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
