"""Training of all networks of a task, in parallel where there are processor cores, and their evaluation."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...core.job import Device
from ..base import RunContext
from ..device import torch_device
from ..threads import max_threads
from .augmentation import AugmentationConfig
from .dice_model import DiceModel
from .evaluation import Unseen, evaluate_unseen, fit_inverse_temperature
from .member_training import MemberConfig, MemberTraining, memory_format, new_network
from .model_file import ModelDescription, load_start, write_model
from .report import SpecialistReport
from .shared_progress import SharedProgress
from .training import Limits, Training

ENGINE = "specialist"
# Networks that are trained at the same time at most.
_MAX_PARALLEL = 8
# Patients that a network is evaluated on; more would take time from the training and say little more.
_MAX_EVALUATED = 40
# These are evaluated even if it takes longer than it should.
_MIN_EVALUATED = 8
_EVALUATION_PART = 0.05


def train_ensemble(
    training: Training,
    folder: Path,
    limits: Limits,
    start: Path | None,
    seed: int,
    device: Device,
    context: RunContext,
    config: MemberConfig | None,
    began: float,
) -> SpecialistReport:
    """Train one network for each split, evaluate each on its unseen patients, and write the model.

    Parameters
    ----------
    limits : Limits
        The first is for all trainings together, of which those that continue have spent some.
    began : float
        Value of `time.monotonic()` at which the call began.
    """
    on = torch_device(device, ENGINE)
    count = len(training.splits)
    parallel = 1 if on.type != "cpu" else max_threads(min(count, _MAX_PARALLEL))
    threads = max(1, max_threads(os.cpu_count() or 1) // parallel)
    config = replace(config or MemberConfig(), threads=threads)
    each = limits.training * parallel / count
    earlier = load_start(start, training.plan, training.record.folds, count)
    progress = SharedProgress(context, count, 0.03, 1 - _EVALUATION_PART)

    def train(number: int) -> tuple[Mapping[str, torch.Tensor], int, float]:
        initial = earlier[number] if earlier else None
        member = MemberTraining(
            training.plan,
            training.cache.read,
            training.splits[number].training,
            seed * 1000 + number,
            on,
            config,
            AugmentationConfig.for_plan(training.plan),
            initial,
        )
        path = training.folder / f"checkpoint-{number}.pt"
        member.resume(path)
        state = member.train(each, path, lambda fraction: progress.member(number, fraction))
        return state, member.steps, member.seconds

    with ThreadPoolExecutor(parallel) as pool:
        jobs = [pool.submit(train, number) for number in range(count)]
        results = progress.results(jobs)
    states = [state for state, _, _ in results]
    unseen = _unseen(training, states, on, limits.evaluation, seed, context)
    temperature = fit_inverse_temperature(unseen)
    dice = DiceModel.fit(*_dice_by_patient(unseen, temperature), count) if unseen else None
    earlier_seconds = sum(spent for _, _, spent in results) / parallel
    report = SpecialistReport(
        expected_dice=dice.of_task() if dice else (),
        examples=len(training.patients),
        patients=len(set(training.patients)),
        steps=sum(steps for _, steps, _ in results),
        seconds=round(max(time.monotonic() - began, earlier_seconds), 1),
    )
    description = ModelDescription(
        plan=training.plan,
        members=count,
        inverse_temperature=temperature,
        dice=dice,
        folds=training.record.folds if count > 1 else {},
        fingerprint=training.record.fingerprint,
    )
    write_model(folder, description, states, report)
    return report


def _unseen(
    training: Training,
    states: Sequence[Mapping[str, torch.Tensor]],
    device: torch.device,
    seconds: float,
    seed: int,
    context: RunContext,
) -> list[Unseen]:
    """Results of each network on patients it did not see, in random order, as many as there is time for."""
    pairs = [(number, index) for number, split in enumerate(training.splits) for index in split.unseen]
    pairs = [pairs[at] for at in np.random.default_rng(seed).permutation(len(pairs))[:_MAX_EVALUATED]]
    began = time.monotonic()
    measured = []
    torch.set_num_threads(max_threads(os.cpu_count() or 1))
    for done, (number, index) in enumerate(pairs):
        if done >= _MIN_EVALUATED and time.monotonic() - began > seconds:
            break
        network = new_network(training.plan)
        network.load_state_dict(dict(states[number]))
        network.eval().to(device, memory_format=memory_format(training.plan))  # type: ignore[call-overload]
        measured.append(evaluate_unseen(network, training, index, device))
        context.report_progress(1 - _EVALUATION_PART * (1 - (done + 1) / len(pairs)))
    return measured


def _dice_by_patient(unseen: Sequence[Unseen], temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """True and promised Dice, each `[patients, labels]`: the mean over the examples of a patient."""
    patients = sorted({result.patient for result in unseen})
    true, promised = [], []
    for patient in patients:
        of_patient = [result for result in unseen if result.patient == patient]
        true.append(_mean([result.true for result in of_patient]))
        promised.append(_mean([result.promised(temperature) for result in of_patient]))
    return np.array(true), np.array(promised)


def _mean(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over rows, without NaN; NaN where all are."""
    stacked = np.array(rows)
    defined = ~np.isnan(stacked)
    total = np.where(defined, stacked, 0).sum(axis=0)
    result: np.ndarray = np.where(defined.any(axis=0), total / np.maximum(1, defined.sum(axis=0)), np.nan)
    return result
