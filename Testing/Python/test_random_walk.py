"""Random actions in the panel, real MRML and real workers; all invariants are checked after each.

`WALK_STEPS=2000 WALK_SEEDS=11,12 pytest -m slow Testing/Python/test_random_walk.py` does more. A failure prints
the seed and the shortest list of actions found that still fails; added to `LISTS`, it is tested from then on.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import slicer_standin
from support.panel import Panel
from support.random_walk import Action, Walk, random_actions, shortest
from support.scene_cases import case
from support.walk_invariants import BrokenInvariantError

pytest_plugins = ("support.panel_fixtures",)
STEPS = int(os.environ.get("WALK_STEPS", "80"))
SEEDS = [int(text) for text in os.environ.get("WALK_SEEDS", "1").split(",")]
SHORTEN_SECONDS = float(os.environ.get("WALK_SHORTEN_SECONDS", "120"))

# Lists that failed once, and the basic course of a fill.
LISTS: dict[str, list[tuple[str, int]]] = {
    "a fill is committed and undone in one step": [("wait", 1), ("fill", 2), ("wait", 3), ("undo", 4)],
    "the axis is reset to automatic after a fill": [("wait", 1), ("fill", 2), ("wait", 3), ("axis", 1), ("wait", 5)],
}


@pytest.fixture
def walk_through(
    open_panel: Callable[..., Panel], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[[Sequence[Action]], Walk]:
    """Function that opens a panel, does the actions and closes the panel."""

    def walk_through(actions: Sequence[Action]) -> Walk:
        panel = open_panel()
        try:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            walk = Walk(panel, case("ct_vertebrae"), folder, lambda: capfd.readouterr().err)
            for action in actions:
                walk.do(action)
            walk.finish()
        finally:
            slicer_standin.close_module(panel.widget)
            slicer_standin.slot_errors.clear()
            capfd.readouterr()
        return walk

    return walk_through


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_actions(walk_through: Callable[[Sequence[Action]], Walk], name: str) -> None:
    walk_through([Action(*one) for one in LISTS[name]])


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_walk_breaks_no_invariant(walk_through: Callable[[Sequence[Action]], Walk], seed: int) -> None:
    actions = random_actions(seed, STEPS)

    def fails(tried: Sequence[Action]) -> bool:
        try:
            walk_through(tried)
        except BrokenInvariantError:
            return True
        return False

    try:
        walk = walk_through(actions)
    except BrokenInvariantError as error:
        found = shortest(actions, fails, SHORTEN_SECONDS)
        pytest.fail(f"seed {seed}: {error}\n" + ", ".join(map(str, found)))
    assert walk.commits or len(actions) < 50
