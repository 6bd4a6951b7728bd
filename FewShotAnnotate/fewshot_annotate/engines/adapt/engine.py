"""Engine `adapt`: a small network fitted in place, fused with propagation, region growing and shape interpolation.

Further networks refine the result in the two orthogonal views, see `orthogonal_views`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...core.errors import Message
from ...core.expected_dice import ExpectedDice
from ...core.gaps import neighbour_distances
from ...core.job import Device
from ...core.support import Support
from ...core.volume import Volume
from ..base import Engine, RunContext, missing_packages_message
from ..option import Option
from ..progress_counter import ProgressCounter
from ..threads import ENGINE_THREADS
from ..torch_loading import load_torch, outdated_torch_message
from .config import AdaptConfig
from .expected_time import LOADING_SECONDS, AdaptTime
from .schedule import FitPlan

if TYPE_CHECKING:
    from ..specialist.engine import Specialist
    from .candidates import CandidatePool
    from .filling import SliceFiller
    from .orthogonal_views import Slab
    from .specialist_blend import SpecialistBlend
    from .stack import Stack
    from .training import OptionalNetwork, SupportFit


class Adapt(Engine):
    """A network fitted on the labelled slices, fused with simpler candidates.

    Labelled slices are held out in turn. The accuracy of each candidate on held-out slices determines the fusion
    weights and the expected Dice.
    """

    name = "adapt"
    title = "Adapt"
    summary = "Fits a small network to your slices and fuses it with propagation and region growing. No download."
    licence = "Apache-2.0 (built in)"
    devices = (Device.CPU, Device.CUDA, Device.MPS)
    uses_model = True
    uses_channels = True
    options: ClassVar[Mapping[str, Option]] = {
        "seed": Option(0, "seed of all that is random", 0, 2**31 - 1),
        "steps": Option(
            70, "steps of the longest fit, up to 5 times as many for many labels or large labelled areas", 1, 10**5
        ),
    }

    def __init__(
        self,
        device: Device = Device.AUTO,
        options: Mapping[str, Any] | None = None,
        config: AdaptConfig | None = None,
    ) -> None:
        super().__init__(device, options)
        self._requested_device = device
        self._config = config or AdaptConfig()

    @classmethod
    def missing_packages(cls) -> tuple[str, ...]:
        """Torch, if it is not installed."""
        return () if find_spec("torch") else ("torch",)

    @classmethod
    def unavailable_reason(cls) -> Message | None:
        """Says what to install if torch is missing or too old."""
        missing = cls.missing_packages()
        return missing_packages_message(missing) if missing else outdated_torch_message()

    @classmethod
    def relative_time(cls, labelled_slices: int) -> float:
        """Time in full fits: none with a single labelled slice, one with two, and a shorter one for each fold."""
        if labelled_slices < 2:
            return 0.3
        config = AdaptConfig()
        folds = min(config.held_out.folds, labelled_slices - 2)
        return 1.3 + config.schedule.held_out_share * folds

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Keep views of the input; the fits begin with `predict`.

        Raises
        ------
        InputError
            The model of the run is damaged or has other labels.
        """
        from ..propagate.flow_propagation import FlowPropagation  # here, so that engines are listed without it

        super().prepare(volume, support, context)
        self._work = ProgressCounter(context.report_progress)
        self._planned_seconds = 0.0
        self._loading_seconds = 0.0 if "torch" in sys.modules else LOADING_SECONDS
        self._volume = volume
        self._support = support
        self._spacing = support.axis.spacing(volume.geometry)
        self._specialist = self._new_specialist()
        self._blend: SpecialistBlend | None = None
        self._filler: SliceFiller | None = None
        self._propagated: dict[int, np.ndarray] = {}
        self._draft_seconds = 0.0
        if support.indices or self._specialist is None:
            self._draft = FlowPropagation(volume, support, on_work=self._work.done)
            self._times = AdaptTime.of_window(support, self._draft.window, self._config)

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the results of `propagate`, which are also kept as a candidate."""
        if not self._support.indices:
            return
        query = sorted(set(slice_indices) - set(self._support.indices))
        self._work.plan(self._draft.expected_time.of(self._support, query))
        self._plan_work(query, self._unlimited_plan(query), kept=len(query))
        self._work.done(0)
        began = time.monotonic()
        kept = 0
        for index, probabilities in self._draft.predict(slice_indices):
            if index not in self._support.indices and kept < self._config.schedule.max_draft_bytes:
                self._propagated[index] = probabilities[(slice(None), *self._draft.window)].astype(np.float16)
                kept += self._propagated[index].nbytes
            yield index, probabilities
        self._draft_seconds = time.monotonic() - began

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Fit networks, fusion weights and calibration, then fill gap by gap; labelled slices are unchanged.

        Without labelled slices, the specialist of the run's model fills the slices alone.
        """
        if not self._support.indices and self._specialist is not None:
            yield from self._specialist.predict(slice_indices)
            return
        from .filling import SliceFiller
        from .training import NetworkInput, fit_support

        labelled = set(self._support.indices)
        query = sorted(set(slice_indices) - labelled)
        yield from self._draft.predict([index for index in slice_indices if index in labelled])
        pool, work, times = self._pool(), self._work, self._times
        plan = self._plan(query)
        self._plan_work(query, plan, kept=len(self._propagated))
        networks = NetworkInput(plan, self.input_stack(pool), self.settings["seed"]) if plan else None
        work.done(self._loading_seconds)
        fit = fit_support(pool, query, networks, work, times)
        filler = self._filler = SliceFiller(pool, fit, self._config, to_be_blended=self._specialist is not None)
        self._blend = self._new_blend(fit)
        slab = self._new_slab(plan, pool)
        previewed = plan is not None and times.previews(plan, self._spacing)
        previewing = 0.0
        for index, logits in filler.logits(query):
            work.done(times.filling)
            if slab is not None and slab.holds(index):
                slab.put(index, logits)
                if not previewed:
                    continue
            began = time.monotonic()
            result = self._blended(index, self._full_slice(pool.window, filler.probabilities(index, logits)), pool)
            work.done(times.finishing)
            if slab is None or not slab.holds(index):
                if slab is None and index == query[-1]:
                    work.finish()
                yield index, result
                continue
            self.context.report_draft(index, result)
            previewing += time.monotonic() - began
        if plan is not None and slab is not None:
            # To finish refined slices takes as long as to preview them.
            left = self.context.seconds_left - previewing
            inner = [index for index in query if slab.holds(index)]
            refined = self._refined(slab, plan, fit.network, left)
            for index, window in filler.finished(inner, refined, slab.unrefined):
                probabilities = self._full_slice(pool.window, window)
                work.done(times.finishing)
                if index == inner[-1]:
                    work.finish()
                yield index, self._blended(index, probabilities, pool)

    def _pool(self) -> CandidatePool:
        """Candidates; drafts are reused as the results of propagation if all labels are annotated on all slices."""
        from .candidates import CandidatePool, complete_support

        annotated = self._support.annotated
        complete = complete_support(self._volume, self._support, self._draft.compared)
        propagated = self._propagated if annotated.all() else {}
        flow = self._draft.with_support(complete)
        return CandidatePool(self._volume, complete, self._config.candidates, flow, propagated, annotated=annotated)

    def _new_specialist(self) -> Specialist | None:
        """The engine that uses the model of the run, if there is one."""
        if self.context.model is None or not self._config.blend.enabled:
            return None
        from ..registry import runnable_engine
        from ..specialist.engine import Specialist

        runnable_engine(Specialist.name)
        specialist = Specialist(self._requested_device)
        specialist.prepare(self._volume, self._support, replace(self.context, on_progress=lambda fraction: None))
        return specialist

    def _new_blend(self, fit: SupportFit) -> SpecialistBlend | None:
        if self._specialist is None:
            return None
        from .specialist_blend import SpecialistBlend

        on_progress = self._work.reporter(self._specialist.expected_seconds())
        prediction, axis = self._specialist.prediction(on_progress), self._support.axis.index
        return SpecialistBlend.fit(
            lambda index: prediction.slice(axis, index),
            self._specialist.expected_dice(),
            self._support,
            fit.held_out,
            fit.calibration,
            self._config.blend,
            on_labelled=lambda index: prediction.slice_before_fine_tuning(axis, index),
            error_ratio=prediction.error_ratio,
        )

    def _blended(self, index: int, probabilities: np.ndarray, pool: CandidatePool) -> np.ndarray:
        """Probabilities of a full slice after blending with the specialist, if there is one."""
        if self._blend is None or self._filler is None:
            return probabilities
        blended = self._blend.blend(
            index, neighbour_distances(index, self._support.indices), probabilities, pool.window
        )
        return self._filler.without_small_components(index, blended)

    def _full_slice(self, window: tuple[slice, slice], probabilities: np.ndarray) -> np.ndarray:
        """Probabilities of a full slice, which is background outside of the window."""
        result = np.zeros((len(probabilities), *self._support.masks.shape[1:]), dtype=np.float32)
        result[0] = 1
        result[(slice(None), *window)] = probabilities
        return result

    def _new_slab(self, plan: FitPlan | None, pool: CandidatePool) -> Slab | None:
        """The slices to be refined in the orthogonal views, of which only the labelled ones are filled."""
        if plan is None or plan.slab is None:
            return None
        from .orthogonal_views import Slab

        count, labelled = len(self._support.labels), pool.support.indices
        return Slab.of(plan.slab, count, pool.contrasted, pool.label_indices, labelled, self._config.orthogonal)

    def _refined(
        self, slab: Slab, plan: FitPlan, network: OptionalNetwork, left: float
    ) -> Callable[[int], np.ndarray]:
        """Slice index to its logits after refinement in the orthogonal views."""
        from .orthogonal_views import refined_logits
        from .timed_refinement import TimedRefinement

        assert self._filler is not None
        assert network.fitted is not None
        expected = self._filler.expectation.expected(self._support.labels)
        dice = {expectation.label: expectation.dice for expectation in expected}
        errors = [1 - dice.get(label, 0.0) for label in self._support.labels]
        refinement = TimedRefinement(plan, self._times, self._work, self._spacing, self.settings["seed"])
        log_odds = refinement.predicted(slab, network.fitted, left)
        return refined_logits(slab, log_odds, errors, sum(self._config.fusion.default_weights))

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label over the slices predicted so far; empty for drafts."""
        if self._filler is None:
            return self._specialist.expected_dice() if self._specialist else ()
        expected = self._filler.expectation.expected(self._support.labels)
        return expected if self._blend is None else self._blend.expected(expected, self._support.labels)

    def input_stack(self, pool: CandidatePool) -> Stack:
        """The slices as input of networks."""
        load_torch()
        from ..device import torch_device
        from .stack import Stack

        count = len(self._support.axis.slices(self._volume.array))
        device = torch_device(self._requested_device, self.name)
        return Stack(pool.contrasted, count, pool.shape, device, self._config.network)

    def _plan_work(self, query: Sequence[int], plan: FitPlan | None, kept: int) -> None:
        """Plan, or replan, the work of `predict`; the drafts of `kept` slices need not be propagated again."""
        propagation = self._draft.expected_time
        seconds = self._loading_seconds + self._times.of(self._support, query, plan, propagation, self._spacing)
        if query:  # as soft targets, and to be filled
            seconds += 2 * propagation.of(self._support, query) * max(0, 1 - kept / len(query))
        if self._specialist is not None:
            seconds += self._specialist.expected_seconds()
        self._work.plan(seconds - self._planned_seconds)
        self._planned_seconds = seconds

    def _unlimited_plan(self, query: Sequence[int]) -> FitPlan | None:
        return FitPlan.unlimited(self.settings["steps"], query, self._support, self._times.shape, self._config)

    def _plan(self, query: Sequence[int]) -> FitPlan | None:
        """Length of the fits; None for no network, as without a time limit or with too little time."""
        from .held_out import fold_count

        schedule, plan = self._config.schedule, self._unlimited_plan(query)
        if plan is None or self.context.seconds_left == math.inf:
            return plan
        drafting = self._draft_seconds or self._drafting(query)
        left = self.context.seconds_left - schedule.candidates_per_draft_time * drafting - schedule.start_seconds
        rounds = 1 + fold_count(self._support, self._config.held_out) * schedule.held_out_share / ENGINE_THREADS
        if left < schedule.min_fit_seconds * rounds:
            return None
        return replace(plan, seconds=left / rounds)

    def _drafting(self, query: Sequence[int]) -> float:
        """Estimated time in seconds to draft slices, measured on one gap; used if another process made the drafts."""
        groups = [gap.slices for gap in self._support.gaps(query)]
        if not groups or self.context.seconds_left <= self._config.schedule.start_seconds:
            return 0.0
        gap = groups[len(groups) // 2]
        self._work.plan(self._draft.expected_time.of(self._support, gap))
        began = time.monotonic()
        for _ in self._draft.predict(gap):
            pass
        return (time.monotonic() - began) * len(query) / len(gap)
