"""Design of a comparison: which labelled slices are held out, and which of the others support them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..core.errors import InputError

# Parts that the held-out slices are divided in at most: while one is held out, the others may support it.
FOLDS = 4
# As few folds as leave this part of the labelled slices to choose a support from.
LEFT_OVER = 0.75
# With fewer labelled slices than this the outermost ones are held out too.
LEAST_WITH_ENDS = 5
_TRIES = 50


@dataclass(frozen=True)
class Trial:
    """One question to an engine: from these labelled slices, what is on those?

    Attributes
    ----------
    size : int
        Number of support slices.
    draw, fold : int
        Which choice of them, and which part of the held-out slices.
    support, held_out : tuple of int, ascending
        Numbers of the labelled slices, 0 is the first labelled one; they have none in common.
    """

    size: int
    draw: int
    fold: int
    support: tuple[int, ...]
    held_out: tuple[int, ...]

    @property
    def name(self) -> str:
        """Short name for files."""
        return f"{self.size:03d}-{self.draw}-{self.fold}"


@dataclass(frozen=True)
class Wish:
    """What the user asks of a comparison.

    Attributes
    ----------
    sizes : tuple of int
        Support sizes; empty: 1, 2, 4, 8, ... and all that are there.
    draws : int
        Choices of support for each size.
    held_out : int
        Most slices that are held out.
    seed : int
        Of the choices.
    """

    sizes: tuple[int, ...] = ()
    draws: int = 3
    held_out: int = 16
    seed: int = 0


def design(painted: Sequence[bool], wish: Wish = Wish()) -> tuple[Trial, ...]:
    """Trials, the largest size first, and all sizes of one draw before the next.

    Every held-out slice is held out once per size and draw. The outermost labelled slices are not held out where
    there are enough others: what is filled in practice lies between. The support is drawn from the slices that are
    not held out at the time, one from each of as many equal stretches, so it is spread but not the same each time.

    Parameters
    ----------
    painted : sequence of bool
        For each labelled slice whether any label is on it.

    Raises
    ------
    InputError
        Fewer than two labelled slices, labels on fewer than two of them, or no size that is possible.
    """
    folds = _folds(painted, wish.held_out)
    pools = [tuple(row for row in range(len(painted)) if row not in fold) for fold in folds]
    usable = [number for number, pool in enumerate(pools) if any(painted[row] for row in pool)]
    if not any(painted[row] for number in usable for row in folds[number]):
        raise InputError("compare_too_few", count=sum(painted))
    most = min(len(pools[number]) for number in usable)
    sizes = _sizes(wish.sizes, most)
    chosen = {
        (size, number): _draws(pools[number], painted, size, wish.draws, (wish.seed, size, number))
        for size in sizes
        for number in usable
    }
    return tuple(
        Trial(size, draw, number, chosen[size, number][draw], folds[number])
        for draw in range(wish.draws)
        for size in reversed(sizes)
        for number in usable
        if draw < min(len(chosen[size, other]) for other in usable)
    )


def spread(rows: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of the rows, evenly spread."""
    if len(rows) <= count:
        return tuple(rows)
    return tuple(rows[int((place + 0.5) * len(rows) / count)] for place in range(count))


def _folds(painted: Sequence[bool], most: int) -> list[tuple[int, ...]]:
    labelled, rows = len(painted), range(len(painted))
    enough = labelled >= LEAST_WITH_ENDS and any(painted[1:-1])
    held = spread(rows[1:-1] if enough else rows, most)
    least = min(FOLDS, len(held))
    count = next((n for n in range(1, least) if labelled - math.ceil(len(held) / n) >= LEFT_OVER * labelled), least)
    return [held[start::count] for start in range(count)]


def _sizes(wished: Sequence[int], most: int) -> list[int]:
    if not wished:
        powers = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
        return sorted({*powers, most})
    sizes = sorted({size for size in wished if 1 <= size <= most})
    if not sizes:
        raise InputError("support_sizes_impossible", most=most)
    return sizes


def _draws(
    pool: Sequence[int], painted: Sequence[bool], size: int, count: int, seed: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Different spread choices of `size` slices, at least one of them painted; fewer where there are not so many."""
    random = np.random.default_rng(seed)
    edges = np.linspace(0, len(pool), size + 1)
    found: list[tuple[int, ...]] = []
    for _ in range(_TRIES * count):
        picks = tuple(pool[int(random.uniform(low, high))] for low, high in pairwise(edges))
        if len(set(picks)) == size and picks not in found and any(painted[row] for row in picks):
            found.append(picks)
        if len(found) == count:
            break
    if not found:  # so few painted slices that chance missed them
        shown = next(row for row in pool if painted[row])
        others = spread([row for row in pool if row != shown], size - 1)
        found.append(tuple(sorted((shown, *others))))
    return found
