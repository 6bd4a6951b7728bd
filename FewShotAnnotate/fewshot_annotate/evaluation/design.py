"""Design of a comparison: which labelled slices are held out, and which of the others are the support."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..core.errors import InputError
from ..core.numbers import parse_int, parse_ints
from ..core.slice_axis import MAX_SLICES

# Maximum number of folds of held-out slices; slices of the other folds may be in the support.
MAX_FOLDS = 4
# The smallest number of folds is used that leaves this fraction of the labelled slices to draw a support from.
MIN_POOL_FRACTION = 0.75
# With at least this many labelled slices, the outermost ones are never held out.
MIN_LABELLED_TO_KEEP_ENDS = 5
_ATTEMPTS_PER_DRAW = 50
# Limits of what a user may ask for.
MAX_DRAWS = 100
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Trial:
    """One fill of held-out slices from a support.

    Attributes
    ----------
    size : int
        Number of support slices.
    draw, fold : int
        Number of the random draw of the support, and of the fold of held-out slices.
    support, held_out : tuple of int, ascending
        Disjoint support indices: positions within all labelled slices.
    """

    size: int
    draw: int
    fold: int
    support: tuple[int, ...]
    held_out: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the trial in file names."""
        return f"{self.size:03d}-{self.draw}-{self.fold}"


@dataclass(frozen=True)
class TrialDesign:
    """Parameters of a comparison, as chosen by the user.

    Attributes
    ----------
    sizes : tuple of int
        Support sizes; empty for 1, 2, 4, 8, ... and the largest possible one.
    draws : int
        Number of random supports per size.
    held_out : int
        Maximum number of held-out slices.
    seed : int
        Seed of the random supports.
    """

    sizes: tuple[int, ...] = ()
    draws: int = 3
    held_out: int = 16
    seed: int = 0

    @classmethod
    def parse(
        cls, sizes: str | Iterable[object] | None, draws: object, held_out: object, seed: object
    ) -> TrialDesign:
        """The design of values that a user gave, as text or numbers; no sizes are the default ones.

        Raises
        ------
        InputError
            A value is not a whole number, or out of range.
        """
        return cls(
            parse_sizes(sizes),
            parse_int(str(draws), "draws", 1, MAX_DRAWS),
            parse_int(str(held_out), "slices", 1, MAX_SLICES),
            parse_int(str(seed), "a seed", 0, MAX_SEED),
        )


def design_trials(painted: Sequence[bool], design: TrialDesign = TrialDesign()) -> tuple[Trial, ...]:
    """Trials in the order in which they are run: by draw, then by descending support size.

    Every held-out slice is held out once per size and draw. The outermost labelled slices are not held out if there
    are enough others, because slices to fill usually lie between labelled ones. The support is a stratified random
    sample: the slices outside of the fold are divided into equal ranges, and one slice is drawn from each.

    Parameters
    ----------
    painted : sequence of bool
        Whether each labelled slice holds any label.
    design : TrialDesign

    Raises
    ------
    InputError
        Fewer than two labelled slices hold labels, or no support size is possible.
    """
    folds = _folds(painted, design.held_out)
    pools = [tuple(index for index in range(len(painted)) if index not in fold) for fold in folds]
    usable_folds = [number for number, pool in enumerate(pools) if any(painted[index] for index in pool)]
    if not any(painted[index] for number in usable_folds for index in folds[number]):
        raise InputError("compare_too_few", count=sum(painted))
    max_size = min(len(pools[number]) for number in usable_folds)
    sizes = _sizes(design.sizes, max_size)
    supports = {
        (size, number): _draws(pools[number], painted, size, design.draws, (design.seed, size, number))
        for size in sizes
        for number in usable_folds
    }
    return tuple(
        Trial(size, draw, number, supports[size, number][draw], folds[number])
        for draw in range(design.draws)
        for size in reversed(sizes)
        for number in usable_folds
        if draw < min(len(supports[size, other]) for other in usable_folds)
    )


def spread(indices: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of the indices, evenly spread."""
    if len(indices) <= count:
        return tuple(indices)
    return tuple(indices[int((position + 0.5) * len(indices) / count)] for position in range(count))


def parse_sizes(sizes: str | Iterable[object] | None) -> tuple[int, ...]:
    """Support sizes that a user gave, as text such as '1,2,4' or as numbers; none are the default ones.

    Raises
    ------
    InputError
        One is not a whole number of at least 1.
    """
    if sizes is not None and not isinstance(sizes, Iterable):
        raise InputError("sizes_malformed", text=sizes)
    entries = () if sizes is None else (sizes,) if isinstance(sizes, str) else tuple(map(str, sizes))
    if not entries:
        return ()
    text = ",".join(entries)
    parsed = parse_ints(text)
    if parsed is None or min(parsed) < 1:
        raise InputError("sizes_malformed", text=text)
    return tuple(parsed)


def _folds(painted: Sequence[bool], max_held_out: int) -> list[tuple[int, ...]]:
    labelled, indices = len(painted), range(len(painted))
    enough = labelled >= MIN_LABELLED_TO_KEEP_ENDS and any(painted[1:-1])
    held_out = spread(indices[1:-1] if enough else indices, max_held_out)
    max_folds = min(MAX_FOLDS, len(held_out))
    count = next(
        (n for n in range(1, max_folds) if labelled - math.ceil(len(held_out) / n) >= MIN_POOL_FRACTION * labelled),
        max_folds,
    )
    return [held_out[start::count] for start in range(count)]


def _sizes(requested: Sequence[int], max_size: int) -> list[int]:
    if not requested:
        powers = [1 << power for power in range(max_size.bit_length()) if 1 << power <= max_size]
        return sorted({*powers, max_size})
    sizes = sorted({size for size in requested if 1 <= size <= max_size})
    if not sizes:
        raise InputError("support_sizes_impossible", most=max_size)
    return sizes


def _draws(
    pool: Sequence[int], painted: Sequence[bool], size: int, count: int, seed: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Up to `count` different supports of `size` slices, each with at least one that holds a label."""
    random = np.random.default_rng(seed)
    edges = np.linspace(0, len(pool), size + 1)
    supports: list[tuple[int, ...]] = []
    for _ in range(_ATTEMPTS_PER_DRAW * count):
        support = tuple(pool[int(random.uniform(low, high))] for low, high in pairwise(edges))
        if len(set(support)) == size and support not in supports and any(painted[index] for index in support):
            supports.append(support)
        if len(supports) == count:
            break
    if not supports:  # labels are on so few slices that no random draw had one
        labelled_one = next(index for index in pool if painted[index])
        others = spread([index for index in pool if index != labelled_one], size - 1)
        supports.append(tuple(sorted((labelled_one, *others))))
    return supports
