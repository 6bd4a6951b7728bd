"""Learning: what `adapt` learns from the labelled slices, each hidden in turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ..core.support import Support
from .calibration import Calibration
from .calibration import Hidden as Fused
from .fusion import End, Hidden, Tally, Weights, choose_weights, softmax, usual_weights
from .neighbours import between, distances, gaps, labelled_around, nearest_and_ends, spread
from .plan import HIDDEN_STEPS, Plan, Work
from .pool import CANDIDATES, Pool
from .propagate import THREADS

if TYPE_CHECKING:
    from .network import Example, FittedNetwork, Stack

# Parts that the labelled slices between the outermost are divided in; each is hidden from one network.
FOLDS = 3
# Slices that one network learns from at most: labelled ones, each hidden in turn, and others as soft targets.
HIDDEN_SLICES = 24
SOFT_EXAMPLES = 40
# What the candidates say of hidden slices is kept to judge them by, while it takes no more memory than this; BYTES is
# what a pixel of a label takes. With many labels on large slices fewer hidden slices judge, FOLDS at least.
JUDGED_BYTES = 2 * 2**30
BYTES = 18
# Mean Dice by which region growing may be behind propagation on labels that end, and still be trusted with lone ones.
GROWS_WORSE = 0.05


@dataclass(frozen=True)
class Network:
    """A fitted network, or none.

    What it says counts as much as it was fitted: a fit that a time limit cuts short takes nothing away from the rest.

    Attributes
    ----------
    fitted : FittedNetwork or None
    """

    fitted: FittedNetwork | None = None

    def join(self, logs: np.ndarray, index: int) -> np.ndarray:
        """The candidates' logarithms for a slice, and the network's, if there is one, as one more."""
        if self.fitted is None:
            return logs
        told = self.fitted.predict(index, _pooled(logs))
        return np.concatenate([logs, np.float32(self.fitted.say) * told[None]])


@dataclass(frozen=True)
class Learned:
    """All that was learned from the labelled slices.

    Attributes
    ----------
    network : Network
    weights : Weights
    calibration : Calibration
    grows : bool
        Region growing follows labels that end about as well as propagation.
    """

    network: Network
    weights: Weights
    calibration: Calibration
    grows: bool


def learn(
    pool: Pool, wanted: Sequence[int], plan: Plan | None, stack: Stack | None, seed: int, work: Work
) -> Learned:
    """A network, how much each candidate counts, and how sure the result is.

    Parameters
    ----------
    pool : Pool
    wanted : sequence of int
        Slices to fill.
    plan : Plan or None
        Without one there is no network.
    stack : Stack or None
        All slices as the network sees them; needed with a plan.
    seed : int
    work : Work
    """
    support = pool.support
    rows = range(len(support.indices))
    inner = rows[1:-1]
    folds = [tuple(inner[start::FOLDS]) for start in range(folds_of(support))]
    counts = len(CANDIDATES) + (plan is not None), len(support.labels)
    looked_at = _showing(rows if plan else inner, HIDDEN_SLICES, pool.areas) if len(rows) > 1 else []
    size = BYTES * (len(support.labels) + 1) * math.prod(pool.shape)
    judging = set(spread(looked_at, max(FOLDS, JUDGED_BYTES // size)))
    soft_targets = spread(between(wanted, support.indices), SOFT_EXAMPLES) if plan else []
    if plan:
        work.plan(plan.steps + len(folds) * plan.part(HIDDEN_STEPS)[0] + plan.side_work)
    work.plan(len(looked_at) + len(soft_targets))

    def hide(row: int) -> tuple[np.ndarray | None, Example | None]:
        """What the candidates say of a slice, if it judges them, and what is learnt from it, if anything is."""
        index = support.indices[row]
        ((_, found),) = pool.part(row).candidates([index])
        logs = found.astype(np.float16)
        work.done(1)
        example = stack.example(index, pool.one_hot(row), _pooled(logs), True) if stack else None
        return (logs if row in judging else None), example

    def soft(gap: Sequence[int]) -> list[Example]:
        assert stack is not None
        examples = []
        for index, logs in pool.fresh().candidates(gap):
            pooled = _pooled(logs)
            examples.append(stack.example(index, pooled, pooled, False))
        work.done(len(gap))
        return examples

    with ThreadPoolExecutor(THREADS) as threads:
        hidden: dict[int, np.ndarray] = {}
        examples: list[Example] = []
        for row, (logs, example) in zip(looked_at, threads.map(hide, looked_at), strict=True):
            hidden |= {row: logs} if logs is not None else {}
            examples += [example] if example is not None else []
        grows = _grows_well(hidden, pool)
        if plan is None or stack is None:
            evidence = [[_hidden(hidden[row], row, pool, Network(), grows)] for row in hidden]
            return Learned(Network(), *_weigh(evidence, *counts), grows)
        from .network import fit

        examples += chain(*threads.map(soft, gaps(soft_targets, support.indices)))

        def member(number: int, fold: tuple[int, ...]) -> tuple[Network, list[Hidden]]:
            """The network that `fold` is hidden from, and what it says of that."""
            unseen = {support.indices[row] for row in fold}
            seen = [one for one in examples if unseen.isdisjoint(labelled_around(one.index, support.indices))]
            steps, seconds = plan.part(HIDDEN_STEPS if fold else 1.0)
            own_seed = seed * (FOLDS + 1) + number
            network = Network(fit(stack, seen, steps, own_seed, lambda part: work.done(part * steps), seconds))
            return network, [_hidden(hidden[row], row, pool, network, grows) for row in fold if row in hidden]

        results = list(threads.map(member, range(len(folds) + 1), [(), *folds]))
    learned = _weigh([evidence for _, evidence in results if evidence], *counts)
    return Learned(results[0][0], *learned, grows)


def _weigh(hidden: Sequence[Sequence[Hidden]], candidates: int, labels: int) -> tuple[Weights, Calibration]:
    """Weights from all hidden slices; calibration of each group of them by weights that did not see it."""
    tallies = [[Tally.of(one) for one in group] for group in hidden]
    weights = choose_weights(list(chain(*tallies)), candidates, labels)
    fused = []
    for number, group in enumerate(hidden):
        others = list(chain(*tallies[:number], *tallies[number + 1 :]))
        unseen = choose_weights(others, candidates, labels)
        for one in group:
            nearest = min(side for side in one.distances if side is not None)
            logits = unseen.fuse(one.logs, nearest, one.ends)
            fused.append(Fused(logits, one.truth, one.distances, one.ends != End.SEEN))
    return weights, Calibration.fit(fused)


def _grows_well(hidden: Mapping[int, np.ndarray], pool: Pool) -> bool:
    """Whether region growing fills labels that one neighbour of a hidden slice shows about as well as propagation."""
    support = pool.support
    shown = pool.areas > 0
    dice = []
    for candidate in (CANDIDATES.index("propagation"), CANDIDATES.index("region growing")):
        right, size = np.zeros((2, len(support.labels) + 1))
        for row, logs in hidden.items():
            around = [other for other in (row - 1, row + 1) if 0 <= other < len(support.indices)]
            ends = np.append(False, shown[around[0]] ^ shown[around[-1]])
            truth, filled = pool.rows(support.indices[row]), logs[candidate].argmax(axis=0)
            true, told, hits = (
                np.bincount(rows.reshape(-1), minlength=len(ends)) for rows in (truth, filled, truth[truth == filled])
            )
            right += 2 * hits * ends
            size += (true + told) * ends
        dice.append(float((right[size > 0] / size[size > 0]).mean()) if size.any() else 0.0)
    return dice[1] > max(0.0, dice[0] - GROWS_WORSE)


def _hidden(logs: np.ndarray, row: int, pool: Pool, network: Network, grows: bool) -> Hidden:
    """What the candidates, and a network that did not see it, say of labelled slice number `row`."""
    support = pool.support
    index = support.indices[row]
    rows = [other for other in range(len(support.indices)) if other != row]
    others = [support.indices[other] for other in rows]
    return Hidden(
        network.join(logs, index).astype(np.float16),
        pool.rows(index),
        distances(index, others),
        nearest_and_ends(others, pool.areas[rows], index, grows)[1],
    )


def folds_of(support: Support) -> int:
    """How many networks have some labelled slices hidden from them."""
    return min(FOLDS, max(0, len(support.indices) - 2))


def _showing(rows: Sequence[int], count: int, areas: np.ndarray) -> list[int]:
    """Some `count` of the rows, evenly spread, and of each label that they do not show the row that shows most of it.

    `areas` as in `Pool`.
    """
    chosen = set(spread(rows, count))
    for label in range(areas.shape[1]):
        most = max(rows, key=lambda row: int(areas[row, label]), default=None)
        if most is not None and areas[most, label] and not areas[sorted(chosen), label].any():
            chosen.add(most)
    return sorted(chosen)


def _pooled(logs: np.ndarray) -> np.ndarray:
    return softmax(usual_weights(len(logs), logs.shape[1] - 1).fuse(logs, 1))
