"""Engine `adapt`: a small network fitted in place, fused with propagation, region growing and shape interpolation.

Others look at the result from the sides, see `multiplanar`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..core.expected import ExpectedDice
from ..core.job import Device
from ..core.support import Support
from ..core.volume import Volume
from .base import Engine, Option
from .calibration import DiceExpectation
from .fusion import End
from .learning import Network, folds_of, learn
from .neighbours import between, distances, gaps, nearest_and_ends
from .plan import HIDDEN_STEPS, SIDE_STEPS, SIDE_WORK, Plan, Work
from .pool import Pool, completed
from .propagate import THREADS, Propagate
from .specks import without_specks
from .through_plane import consistent

if TYPE_CHECKING:
    from .multiplanar import Block
    from .network import Stack

# In older ones the fused AdamW may be for CUDA only. Nothing but the pinned release was ever tried.
OLDEST_TORCH = (2, 5)
# Labels and labelled slices that `steps` are enough for. More of either take more steps in proportion, up to so many
# times: small labels would be smoothed away else, and there is more to learn.
FEW_LABELS = 24
FEW_SLICES = 14
MOST_TIMES = 3.0
# There is no look from the sides at fewer slices, or where it takes more memory.
LEAST_SLICES = 8
BLOCK_BYTES = 4 * 2**30
# Drafts are kept for the work that follows while they take no more memory than this.
KEPT_BYTES = 256 * 2**20
# With a time limit: how many times the drafts' time all else but the fits takes, seconds to load torch, and the
# seconds of a fit below which there is none.
POOL_WORK = 6.0
START_SECONDS = 3.0
FIT_SECONDS = 1.0


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
        """Without torch, or with an old one, there is no network."""
        if cls.missing_packages():
            return "it needs the Python package torch: pip install torch"
        installed = _torch_version()
        if installed and tuple(int(part) for part in installed.split(".")[:2]) < OLDEST_TORCH:
            least = ".".join(map(str, OLDEST_TORCH))
            return f"it needs torch {least} or newer, not {installed}: pip install --upgrade torch"
        return None

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
        work = Work(self.pulse, len(wanted))
        plan = self._plan(wanted, pool.shape)
        stack = self._stack(pool) if plan else None
        learned = learn(pool, wanted, plan, stack, self.settings["seed"], work)
        expectation = self._expectation = DiceExpectation(learned.calibration)

        smallest = np.min(pool.areas, axis=0, where=pool.areas > 0, initial=pool.areas.max(initial=0))

        def around(index: int) -> tuple[int, np.ndarray]:
            return nearest_and_ends(pool.support.indices, pool.areas, index, learned.grows)

        def fused() -> Iterator[tuple[int, np.ndarray]]:
            for index, logs in pool.candidates(wanted):
                yield index, learned.weights.fuse(learned.network.join(logs, index), *around(index))

        def noted() -> Iterator[tuple[int, np.ndarray]]:
            for index, logits in _ahead(fused()):
                _, ends = around(index)
                # Hidden slices were judged without their neighbours, so that is what the expectation is about.
                outside = index < pool.support.indices[0] or index > pool.support.indices[-1]
                expectation.add(calibrated(logits, index), outside | (ends != End.SEEN))
                yield index, logits

        def calibrated(logits: np.ndarray, index: int) -> np.ndarray:
            probabilities = learned.calibration.probabilities(logits, distances(index, pool.support.indices))
            pool.keep(index, probabilities)
            return probabilities

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
        writing = 0.0
        for index, logits in filled:
            work.done(1)
            if index in plan.block:
                block.put(index, logits)
                began = time.monotonic()
                self.offer(index, whole(index, logits))
                writing += time.monotonic() - began
            else:
                yield index, whole(index, logits)
        expected = {one.label: one.dice for one in self.expected()}
        errors = [1 - expected.get(label, 0.0) for label in self._support.labels]
        sides = self._look(block, plan, learned.network, work, self.seconds_left - writing)
        for index, logits in refined(block, sides, errors, [index for index in wanted if index in plan.block]):
            yield index, whole(index, logits)

    def _look(self, block: Block, plan: Plan, network: Network, work: Work, left: float) -> np.ndarray | None:
        """What is seen of a block from the sides, if the network is fitted to its end and enough seconds are left."""
        from .device import torch_device
        from .multiplanar import look

        assert network.fitted is not None
        left -= (SIDE_WORK - SIDE_STEPS) * network.fitted.seconds
        if network.fitted.part < 1 or left < FIT_SECONDS:
            return None
        steps, _ = plan.part(SIDE_STEPS)
        apart, *pixel = self._support.axis.spacing(self._volume.geometry)
        device = torch_device(self._asked_device, self.name)
        return look(
            block,
            apart / min(pixel),
            device,
            steps,
            None if left == math.inf else left,
            self.settings["seed"],
            lambda part: work.done(part * plan.side_work),
            network.fitted,
        )

    def expected(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label over the slices predicted so far; nothing about drafts."""
        return self._expectation.expected(self._support.labels) if self._expectation else ()

    def _stack(self, pool: Pool) -> Stack:
        """All slices as networks see them."""
        from .device import torch_device
        from .network import Stack

        count = len(self._support.axis.slices(self._volume.array))
        return Stack(pool.contrasted, count, pool.shape, torch_device(self._asked_device, self.name))

    def _plan(self, wanted: Sequence[int], shape: tuple[int, int]) -> Plan | None:
        """How long to fit; None: not at all, for want of slices to learn from or of time."""
        if len(self._support.indices) < 2:
            return None
        much = max(1.0, len(self._support.labels) / FEW_LABELS, len(self._support.indices) / FEW_SLICES)
        steps = round(self.settings["steps"] * min(much, MOST_TIMES))
        block = self._block(wanted, shape)
        if self.seconds_left == math.inf:
            return Plan(steps, block)
        drafting = self._draft_seconds or self._drafting(wanted)
        left = self.seconds_left - POOL_WORK * drafting - START_SECONDS
        rounds = 1 + folds_of(self._support) * HIDDEN_STEPS / THREADS
        return Plan(steps, block, left / rounds) if left >= FIT_SECONDS * rounds else None

    def _drafting(self, wanted: Sequence[int]) -> float:
        """Seconds that drafts of some slices would take, by those of one gap: another process may have drafted."""
        groups = gaps(wanted, self._support.indices)
        if not groups or self.seconds_left <= START_SECONDS:
            return 0.0
        gap = groups[len(groups) // 2]
        began = time.monotonic()
        for _ in self._draft.predict(gap):
            pass
        return (time.monotonic() - began) * len(wanted) / len(gap)

    def _block(self, wanted: Sequence[int], shape: tuple[int, int]) -> range | None:
        """The slices to look at from the sides, if they are unbroken: wanted ones and labelled ones around them.

        Beyond the outermost labelled slices nothing holds the labels in place: nobody should learn from that.
        """
        indices = self._support.indices
        inner = between(wanted, indices)
        if not inner:
            return None
        labelled = [index for index in indices if inner[0] - 1 <= index <= inner[-1] + 1]
        known = sorted({*inner, *labelled})
        block = range(known[0], known[-1] + 1)
        if not labelled or len(block) != len(known) or len(block) < LEAST_SLICES:
            return None
        size = 2 * len(block) * (2 * len(self._support.labels) + 2) * shape[0] * shape[1]
        return block if size <= BLOCK_BYTES else None


def _torch_version() -> str | None:
    """None where torch was installed without saying which it is: then it is taken as it is."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def _ahead(candidates: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """The same items, each made by a thread while the one before is worked on."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, candidates, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, candidates, None)
            yield item
