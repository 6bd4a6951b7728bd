"""Engine `adapt`: a small network fitted in place, fused with propagation, region growing and shape interpolation.

Further networks refine the result in the two orthogonal views, see `orthogonal_views`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...core.errors import InputError, Message
from ...core.expected_dice import ExpectedDice
from ...core.job import Device
from ...core.support import Support
from ...core.volume import Volume
from ..base import Engine, RunContext, missing_packages_message
from ..option import Option
from ..threads import ENGINE_THREADS
from .config import AdaptConfig
from .neighbours import distances
from .schedule import (
    FINISHING_STEPS,
    SPECIALIST_STEPS,
    FitPlan,
    ProgressCounter,
    orthogonal_work,
    refined_slab,
    scaled_steps,
    stretch_factor,
)

if TYPE_CHECKING:
    from ..specialist.engine import Specialist
    from .candidates import CandidatePool
    from .filling import SliceFiller
    from .orthogonal_views import Slab
    from .specialist_blend import SpecialistBlend
    from .stack import Stack
    from .training import OptionalNetwork, SupportFit

# In older releases, fused AdamW may be for CUDA only. Only the pinned release has been tested.
MIN_TORCH_VERSION = (2, 5)


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
        "steps": Option(110, "steps of the longest fit, up to 3 times as many for much to learn", 1, 10**5),
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
        packages = cls.missing_packages()
        if packages:
            return missing_packages_message(packages)
        installed = _torch_version()
        if installed and tuple(int(component) for component in installed.split(".")[:2]) < MIN_TORCH_VERSION:
            least = ".".join(map(str, MIN_TORCH_VERSION))
            return Message("needs_newer_torch", least=least, installed=installed, install="torch")
        return None

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Keep views of the input; the fits begin with `predict`.

        Raises
        ------
        InputError
            The model of the run is damaged or has other labels.
        """
        from ..propagate.flow_propagation import FlowPropagation  # here, so that engines are listed without it

        super().prepare(volume, support, context)
        self._volume = volume
        self._support = support
        self._specialist = self._new_specialist()
        self._blend: SpecialistBlend | None = None
        self._filler: SliceFiller | None = None
        self._propagated: dict[int, np.ndarray] = {}
        self._draft_seconds = 0.0
        if support.indices or self._specialist is None:
            self._draft = FlowPropagation(volume, support)

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the results of `propagate`, which are also kept as a candidate."""
        if not self._support.indices:
            return
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
        from .training import fit_support

        labelled = set(self._support.indices)
        query = sorted(set(slice_indices) - labelled)
        yield from self._draft.predict([index for index in slice_indices if index in labelled])
        pool = self._pool()
        work = ProgressCounter(self.context.report_progress, (1 + FINISHING_STEPS) * len(query))
        plan = self._plan(query, pool.shape)
        stack = self.input_stack(pool) if plan else None
        if self._specialist is not None:
            work.plan(SPECIALIST_STEPS)
        fit = fit_support(pool, query, plan, stack, self.settings["seed"], work, self._config)
        filler = self._filler = SliceFiller(pool, fit, self._config)
        self._blend = self._new_blend(fit, work.part(SPECIALIST_STEPS))
        slab = self._new_slab(plan, pool)
        finishing = 0.0
        for index, logits in filler.logits(query):
            work.done(1)
            began = time.monotonic()
            result = self._blended(index, self._full_slice(pool.window, filler.probabilities(index, logits)), pool)
            if slab is None or not slab.holds(index):
                work.done(FINISHING_STEPS)
                yield index, result
                continue
            slab.put(index, logits)
            self.context.report_draft(index, result)
            finishing += time.monotonic() - began
        if plan is not None and slab is not None:
            # Slices of the slab are finished a second time, which takes the same time again.
            left = self.context.seconds_left - finishing
            inner = [index for index in query if slab.holds(index)]
            for index, logits in self._refined(slab, inner, plan, fit.network, work, left):
                probabilities = self._full_slice(pool.window, filler.probabilities(index, logits))
                work.done(FINISHING_STEPS)
                yield index, self._blended(index, probabilities, pool)

    def _pool(self) -> CandidatePool:
        """Candidates; drafts are reused as the results of propagation if all labels are annotated on all slices."""
        from .candidates import CandidatePool, complete_support

        complete = complete_support(self._volume, self._support, self._draft.compared)
        propagated = self._propagated if self._support.annotated.all() else {}
        flow = self._draft.with_support(complete)
        return CandidatePool(self._volume, complete, self._config.candidates, flow, propagated)

    def _new_specialist(self) -> Specialist | None:
        """The engine that uses the model of the run, if there is one."""
        if self.context.model is None or not self._config.blend.enabled:
            return None
        from ..specialist.engine import Specialist

        reason = Specialist.unavailable_reason()
        if reason is not None:
            raise InputError("engine_unavailable", engine=Specialist.name, detail=reason)
        specialist = Specialist(self._requested_device)
        specialist.prepare(self._volume, self._support, replace(self.context, on_progress=lambda fraction: None))
        return specialist

    def _new_blend(self, fit: SupportFit, on_progress: Callable[[float], None]) -> SpecialistBlend | None:
        if self._specialist is None:
            return None
        from .specialist_blend import SpecialistBlend

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
        blended = self._blend.blend(index, distances(index, self._support.indices), probabilities, pool.window)
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
        self,
        slab: Slab,
        query: Sequence[int],
        plan: FitPlan,
        network: OptionalNetwork,
        work: ProgressCounter,
        left: float,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the logits of query slices after refinement in the orthogonal views."""
        from .orthogonal_views import refine

        assert self._filler is not None
        expected = self._filler.expectation.expected(self._support.labels)
        dice = {expectation.label: expectation.dice for expectation in expected}
        errors = [1 - dice.get(label, 0.0) for label in self._support.labels]
        yield from refine(slab, self._predict_orthogonal(slab, plan, network, work, left), errors, query)

    def _predict_orthogonal(
        self, slab: Slab, plan: FitPlan, network: OptionalNetwork, work: ProgressCounter, left: float
    ) -> np.ndarray | None:
        """Log-odds in the orthogonal views; None if the network's fit was cut short or too little time is left."""
        from ..device import torch_device
        from .orthogonal_views import predict_orthogonal

        assert network.fitted is not None
        schedule = self._config.schedule
        left -= (schedule.orthogonal_work - schedule.orthogonal_share) * network.fitted.seconds
        if network.fitted.completed < 1 or left < schedule.min_fit_seconds:
            return None
        steps, _ = plan.share(schedule.orthogonal_share)
        spacing = self._support.axis.spacing(self._volume.geometry)
        device = torch_device(self._requested_device, self.name)
        return predict_orthogonal(
            slab,
            stretch_factor(spacing, self._config.orthogonal),
            device,
            steps,
            None if left == math.inf else left,
            self.settings["seed"],
            lambda fraction: work.done(fraction * plan.orthogonal.total),
            self._config.network,
            network.fitted,
            plan.orthogonal.share_of_fits,
        )

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label over the slices predicted so far; empty for drafts."""
        if self._filler is None:
            return self._specialist.expected_dice() if self._specialist else ()
        expected = self._filler.expectation.expected(self._support.labels)
        return expected if self._blend is None else self._blend.expected(expected, self._support.labels)

    def input_stack(self, pool: CandidatePool) -> Stack:
        """The slices as input of networks."""
        from ..device import torch_device
        from .stack import Stack

        count = len(self._support.axis.slices(self._volume.array))
        device = torch_device(self._requested_device, self.name)
        return Stack(pool.contrasted, count, pool.shape, device, self._config.network)

    def _plan(self, query: Sequence[int], shape: tuple[int, int]) -> FitPlan | None:
        """Length of the fits; None for no network, with fewer than two labelled slices or too little time."""
        if len(self._support.indices) < 2 or not self._config.network.enabled:
            return None
        from .held_out import fold_count

        schedule = self._config.schedule
        steps = scaled_steps(self.settings["steps"], self._support, schedule)
        slab = refined_slab(query, self._support, shape, self._config.orthogonal)
        refining = max(1, round(steps * schedule.orthogonal_share))
        spacing = self._support.axis.spacing(self._volume.geometry)
        orthogonal = orthogonal_work(slab, shape, spacing, refining, self._config)
        if self.context.seconds_left == math.inf:
            return FitPlan(steps, slab, orthogonal, schedule)
        drafting = self._draft_seconds or self._drafting(query)
        left = self.context.seconds_left - schedule.candidates_per_draft_time * drafting - schedule.start_seconds
        rounds = 1 + fold_count(self._support, self._config.held_out) * schedule.held_out_share / ENGINE_THREADS
        if left < schedule.min_fit_seconds * rounds:
            return None
        return FitPlan(steps, slab, orthogonal, schedule, left / rounds)

    def _drafting(self, query: Sequence[int]) -> float:
        """Estimated time in seconds to draft slices, measured on one gap; used if another process made the drafts."""
        groups = [gap.slices for gap in self._support.gaps(query)]
        if not groups or self.context.seconds_left <= self._config.schedule.start_seconds:
            return 0.0
        gap = groups[len(groups) // 2]
        began = time.monotonic()
        for _ in self._draft.predict(gap):
            pass
        return (time.monotonic() - began) * len(query) / len(gap)


def _torch_version() -> str | None:
    """Installed version of torch; None if torch was installed without metadata."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None
