"""Engine `adapt`: a small network fitted in place, fused with propagation, region growing and shape interpolation.

Others look at the result from the sides, see `multiplanar`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..core.expected import ExpectedDice
from ..core.job import Device
from ..core.support import Support
from ..core.volume import Volume
from .base import Engine, Option
from .calibration import Calibration, DiceExpectation
from .calibration import Hidden as Fused
from .fusion import End, Hidden, Tally, Weights, choose_weights, softmax, usual_weights
from .pool import CANDIDATES, Pool, completed
from .propagate import THREADS, Propagate
from .specks import without_specks
from .through_plane import consistent

if TYPE_CHECKING:
    from .multiplanar import Block
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
# Labels and labelled slices that `steps` are enough for. More of either take more steps in proportion, up to so many
# times: small labels would be smoothed away else, and there is more to learn.
FEW_LABELS = 24
FEW_SLICES = 14
MOST_TIMES = 3.0
# Share of a fit's steps that a network gets which some labelled slices are hidden from.
HIDDEN_STEPS = 0.42
# Mean Dice by which region growing may be behind propagation on labels that end, and still be trusted with lone ones.
GROWS_WORSE = 0.05
# A label that one slice alone shows with fewer pixels than this is the tip of something: an outline to carry is not
# known, so it is grown whatever growing has proved.
TIP = 30
# Share of a fit's steps that a network gets that looks at the result from a side, and how many whole fits all of that
# look is as much work as.
SIDE_STEPS = 0.55
SIDE_WORK = 1.0
# There is no look from the sides at fewer slices, or where it takes more memory.
LEAST_SLICES = 8
BLOCK_BYTES = 4 * 2**30
# Drafts are kept for the work that follows while they take no more memory than this.
KEPT_BYTES = 256 * 2**20
# With a time limit: how many times the drafts' time all else but the fits takes, seconds to load torch, and the
# seconds of a fit below which there is none.
POOL_WORK = 6.0
START_SECONDS = 3.0
FIT_SECONDS = 3.0


class Adapt(Engine):
    """A network fitted on the labelled slices, fused with simpler ways to fill.

    Labelled slices are hidden in turn, from networks of their own too: how well each candidate fills them decides how
    much it counts, and what Dice to expect.
    """

    name = "adapt"
    title = "Adapt"
    summary = "Fits a small network to your slices and fuses it with propagation and region growing. No download."
    licence = "Apache-2.0 (built in)"
    devices = (Device.CPU, Device.CUDA, Device.MPS)
    options: ClassVar[Mapping[str, Option]] = {
        "seed": Option(0, "seed of all that is random", 0, 2**31 - 1),
        "steps": Option(110, "steps of the longest fit, up to 3 times as many for much to learn", 1, 10**5),
    }

    def __init__(self, device: Device = Device.AUTO, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(device, options)
        self._asked_device = device

    @classmethod
    def missing_packages(cls) -> tuple[str, ...]:
        """Without torch there is no network."""
        return () if find_spec("torch") else ("torch",)

    @classmethod
    def cannot_run(cls) -> str | None:
        """Without torch there is no network."""
        return "it needs the Python package torch: pip install torch" if cls.missing_packages() else None

    def prepare(self, volume: Volume, support: Support) -> None:
        """Keep views. The work begins with the first prediction."""
        self._volume = volume
        self._support = support
        self._draft = Propagate()
        self._draft.prepare(volume, support)
        self._draft_seconds = 0.0
        self._carried: dict[int, np.ndarray] = {}
        self._expectation: DiceExpectation | None = None

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The slices that `propagate` gives."""
        began = time.monotonic()
        kept = 0
        for index, probabilities in self._draft.predict(slice_indices):
            if index not in self._support.indices and kept < KEPT_BYTES:
                self._carried[index] = probabilities[(slice(None), *self._draft.window)].astype(np.float16)
                kept += self._carried[index].nbytes
            yield index, probabilities
        self._draft_seconds = time.monotonic() - began

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Fit, weigh, and fill gap by gap; a labelled slice that is asked for comes back as it is."""
        labelled = set(self._support.indices)
        wanted = sorted(set(slice_indices) - labelled)
        yield from self._draft.predict([index for index in slice_indices if index in labelled])
        carried = self._carried if self._support.known.all() else {}
        context = self._draft.context
        complete = completed(self._volume, self._support, context)
        pool = Pool(self._volume, complete, self._draft.window, carried, context)
        work = _Work(self.pulse, len(wanted))
        plan = self._plan(wanted, pool.shape)
        fitted = self._fit(pool, wanted, plan, work)
        expectation = self._expectation = DiceExpectation(fitted.calibration)

        smallest = np.min(pool.areas, axis=0, where=pool.areas > 0, initial=pool.areas.max(initial=0))

        def around(index: int) -> tuple[int, np.ndarray]:
            return _around(pool.support.indices, pool.areas, index, fitted.grows)

        def fused() -> Iterator[tuple[int, np.ndarray]]:
            for index, logs in pool.candidates(wanted):
                yield index, fitted.weights.fuse(fitted.network.join(logs, index), *around(index))

        def noted() -> Iterator[tuple[int, np.ndarray]]:
            for index, logits in _ahead(fused()):
                _, ends = around(index)
                # Hidden slices were judged without their neighbours, so that is what the expectation is about.
                outside = index < pool.support.indices[0] or index > pool.support.indices[-1]
                expectation.add(calibrated(logits, index), outside | (ends != End.SEEN))
                yield index, logits

        def calibrated(logits: np.ndarray, index: int) -> np.ndarray:
            return fitted.calibration.probabilities(logits, _distances(index, pool.support.indices))

        def whole(index: int, logits: np.ndarray) -> np.ndarray:
            result = np.zeros((len(logits), *self._support.masks.shape[1:]), dtype=np.float32)
            result[0] = 1
            favoured = expectation.favoured(calibrated(logits, index))
            result[(slice(None), *pool.window)] = without_specks(favoured, smallest)
            return result

        filled = consistent(noted(), pool.image, pool.rows, pool.support.indices)
        if plan is None or plan.block is None:
            for index, logits in filled:
                work.done(1)
                yield index, whole(index, logits)
            return
        from .multiplanar import Block, refined

        block = Block.of(plan.block, len(self._support.labels), pool.contrasted, pool.rows, pool.support.indices)
        for index, logits in filled:
            work.done(1)
            if index in plan.block:
                block.put(index, logits)
                self.offer(index, whole(index, logits))
            else:
                yield index, whole(index, logits)
        expected = {one.label: one.dice for one in self.expected()}
        errors = [1 - expected.get(label, 0.0) for label in self._support.labels]
        sides = self._look(block, plan, fitted.network, work)
        for index, logits in refined(block, sides, errors, [index for index in wanted if index in plan.block]):
            yield index, whole(index, logits)

    def _look(self, block: Block, plan: _Plan, network: Network, work: _Work) -> np.ndarray | None:
        """What is seen of a block from the sides, if there is time left for it."""
        from .device import torch_device
        from .multiplanar import look

        if plan.seconds is not None and self.seconds_left < SIDE_WORK * plan.seconds:
            return None
        apart, *pixel = self._support.axis.spacing(self._volume.geometry)
        device = torch_device(self._asked_device, self.name)
        fits = plan.part(SIDE_STEPS)
        return look(
            block,
            apart / min(pixel),
            device,
            *fits,
            self.settings["seed"],
            lambda part: work.done(part * plan.side_work),
            network.fitted,
        )

    def expected(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label over the slices predicted so far; nothing about drafts."""
        return self._expectation.expected(self._support.labels) if self._expectation else ()

    def _fit(self, pool: Pool, wanted: Sequence[int], plan: _Plan | None, work: _Work) -> _Fitted:
        """A network, how much each candidate counts, and how sure the result is."""
        support = pool.support
        rows = range(len(support.indices))
        inner = rows[1:-1]
        folds = [tuple(inner[start::FOLDS]) for start in range(_folds(support))]
        counts = len(CANDIDATES) + (plan is not None), len(support.labels)
        looked_at = _showing(rows if plan else inner, HIDDEN_SLICES, pool.areas) if len(rows) > 1 else []
        size = BYTES * (len(support.labels) + 1) * math.prod(pool.shape)
        judging = set(_spread(looked_at, max(FOLDS, JUDGED_BYTES // size)))
        soft_targets = _spread(_between(wanted, support.indices), SOFT_EXAMPLES) if plan else []
        if plan:
            work.plan(plan.steps + len(folds) * plan.part(HIDDEN_STEPS)[0] + plan.side_work)
        work.plan(len(looked_at) + len(soft_targets))

        stack = self._stack(pool) if plan else None

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
                return _Fitted(Network(), *_learn(evidence, *counts), grows)
            from .network import fit

            examples += chain(*threads.map(soft, _gaps(soft_targets, support.indices)))

            def member(number: int, fold: tuple[int, ...]) -> tuple[Network, list[Hidden]]:
                """The network that `fold` is hidden from, and what it says of that."""
                unseen = {support.indices[row] for row in fold}
                seen = [one for one in examples if unseen.isdisjoint(_ends(one.index, support.indices))]
                steps, seconds = plan.part(HIDDEN_STEPS if fold else 1.0)
                seed = self.settings["seed"] * (FOLDS + 1) + number
                network = Network(fit(stack, seen, steps, seed, lambda part: work.done(part * steps), seconds))
                return network, [_hidden(hidden[row], row, pool, network, grows) for row in fold if row in hidden]

            results = list(threads.map(member, range(len(folds) + 1), [(), *folds]))
        learned = _learn([evidence for _, evidence in results if evidence], *counts)
        return _Fitted(results[0][0], *learned, grows)

    def _stack(self, pool: Pool) -> Stack:
        """All slices as networks see them."""
        from .device import torch_device
        from .network import Stack

        count = len(self._support.axis.slices(self._volume.array))
        return Stack(pool.contrasted, count, pool.shape, torch_device(self._asked_device, self.name))

    def _plan(self, wanted: Sequence[int], shape: tuple[int, int]) -> _Plan | None:
        """How long to fit; None: not at all, for want of slices to learn from or of time."""
        if len(self._support.indices) < 2:
            return None
        much = max(1.0, len(self._support.labels) / FEW_LABELS, len(self._support.indices) / FEW_SLICES)
        steps = round(self.settings["steps"] * min(much, MOST_TIMES))
        block = self._block(wanted, shape)
        if self.seconds_left == math.inf:
            return _Plan(steps, block)
        drafting = self._draft_seconds or self._drafting(wanted)
        left = self.seconds_left - POOL_WORK * drafting - START_SECONDS
        rounds = 1 + _folds(self._support) * HIDDEN_STEPS / THREADS
        if block is not None and left >= FIT_SECONDS * (rounds + SIDE_WORK):
            return _Plan(steps, block, left / (rounds + SIDE_WORK))
        return _Plan(steps, None, left / rounds) if left >= FIT_SECONDS * rounds else None

    def _drafting(self, wanted: Sequence[int]) -> float:
        """Seconds that drafts of some slices would take, by those of one gap: another process may have drafted."""
        gaps = _gaps(wanted, self._support.indices)
        if not gaps or self.seconds_left <= START_SECONDS:
            return 0.0
        gap = gaps[len(gaps) // 2]
        began = time.monotonic()
        for _ in self._draft.predict(gap):
            pass
        return (time.monotonic() - began) * len(wanted) / len(gap)

    def _block(self, wanted: Sequence[int], shape: tuple[int, int]) -> range | None:
        """The slices to look at from the sides, if they are unbroken: wanted ones and labelled ones around them.

        Beyond the outermost labelled slices nothing holds the labels in place: nobody should learn from that.
        """
        indices = self._support.indices
        inner = _between(wanted, indices)
        if not inner:
            return None
        labelled = [index for index in indices if inner[0] - 1 <= index <= inner[-1] + 1]
        known = sorted({*inner, *labelled})
        block = range(known[0], known[-1] + 1)
        if not labelled or len(block) != len(known) or len(block) < LEAST_SLICES:
            return None
        size = 2 * len(block) * (2 * len(self._support.labels) + 2) * shape[0] * shape[1]
        return block if size <= BLOCK_BYTES else None


@dataclass(frozen=True)
class _Plan:
    """How long to fit.

    Attributes
    ----------
    steps : int
        Of the network that sees all labelled slices; each other gets a part of them.
    block : range or None
        Slices that are looked at from the sides; None: there is no such look.
    seconds : float, optional
        Time limit of the first network.
    """

    steps: int
    block: range | None
    seconds: float | None = None

    def part(self, share: float) -> tuple[int, float | None]:
        """Steps and time limit of a network that gets a share of the first one's."""
        return max(1, round(self.steps * share)), None if self.seconds is None else share * self.seconds

    @property
    def side_work(self) -> float:
        """The look from the sides, as many steps of a fit."""
        return 0.0 if self.block is None else 2 * SIDE_WORK * self.steps


@dataclass(frozen=True)
class Network:
    """A fitted network, or none.

    Attributes
    ----------
    fitted : FittedNetwork or None
    """

    fitted: FittedNetwork | None = None

    def join(self, logs: np.ndarray, index: int) -> np.ndarray:
        """The candidates' logarithms for a slice, and the network's, if there is one, as one more."""
        if self.fitted is None:
            return logs
        return np.concatenate([logs, self.fitted.predict(index, _pooled(logs))[None]])


@dataclass(frozen=True)
class _Fitted:
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


class _Work:
    """Tells the fraction of work that is done, from any thread."""

    def __init__(self, pulse: Callable[[float], None], total: float) -> None:
        self._pulse = pulse
        self._total = total
        self._done = 0.0
        self._lock = threading.Lock()

    def plan(self, amount: float) -> None:
        """There is more to do."""
        self._total += amount

    def done(self, amount: float) -> None:
        """This much more is done."""
        with self._lock:
            self._done += amount
            self._pulse(min(1.0, self._done / max(self._total, 1)))


def _learn(hidden: Sequence[Sequence[Hidden]], candidates: int, labels: int) -> tuple[Weights, Calibration]:
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
        _distances(index, others),
        _around(others, pool.areas[rows], index, grows)[1],
    )


def _ahead(candidates: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """The same items, each made by a thread while the one before is worked on."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, candidates, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, candidates, None)
            yield item


def _folds(support: Support) -> int:
    """How many networks have some labelled slices hidden from them."""
    return min(FOLDS, max(0, len(support.indices) - 2))


def _gaps(wanted: Sequence[int], labelled: Sequence[int]) -> list[list[int]]:
    """Slices in groups that lie between the same labelled slices."""
    return [list(group) for _, group in groupby(wanted, lambda index: int(np.searchsorted(labelled, index)))]


def _between(wanted: Sequence[int], labelled: Sequence[int]) -> list[int]:
    """Slices between the outermost labelled ones."""
    return [index for index in wanted if labelled[0] < index < labelled[-1]]


def _ends(index: int, labelled: Sequence[int]) -> tuple[int, ...]:
    """The labelled slices that speak about a slice: itself, or those around it."""
    after = int(np.searchsorted(labelled, index))
    return (index,) if index in labelled else tuple(labelled[max(0, after - 1) : after + 1])


def _pooled(logs: np.ndarray) -> np.ndarray:
    return softmax(usual_weights(len(logs), logs.shape[1] - 1).fuse(logs, 1))


def _distances(index: int, labelled: Sequence[int]) -> tuple[int | None, int | None]:
    before = max((other for other in labelled if other < index), default=None)
    after = min((other for other in labelled if other > index), default=None)
    return (None if before is None else index - before), (None if after is None else after - index)


def _around(labelled: Sequence[int], areas: np.ndarray, index: int, grows: bool) -> tuple[int, np.ndarray]:
    """Slices to the nearest labelled slice, and the `End` of each label; `areas` as in `Pool`."""
    after = int(np.searchsorted(labelled, index))
    rows = [row for row in (after - 1, after) if 0 <= row < len(labelled)]
    shown = areas > 0
    ends = np.where(shown[rows[0]] ^ shown[rows[-1]], End.BETWEEN, End.SEEN)
    lone = (shown.sum(axis=0) == 1) & (grows | (areas.sum(axis=0) < TIP))
    ends[(ends == End.BETWEEN) & lone] = End.LONE
    return min(abs(index - labelled[row]) for row in rows), ends


def _showing(rows: Sequence[int], count: int, areas: np.ndarray) -> list[int]:
    """Some `count` of the rows, evenly spread, and of each label that they do not show the row that shows most of it.

    `areas` as in `Pool`.
    """
    chosen = set(_spread(rows, count))
    for label in range(areas.shape[1]):
        most = max(rows, key=lambda row: int(areas[row, label]), default=None)
        if most is not None and areas[most, label] and not areas[sorted(chosen), label].any():
            chosen.add(most)
    return sorted(chosen)


def _spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spread."""
    if len(values) <= count:
        return list(values)
    return [values[round(place)] for place in np.linspace(0, len(values) - 1, count)]
