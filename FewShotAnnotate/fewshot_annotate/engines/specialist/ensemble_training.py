"""Training of all networks of a task, in parallel on several CPU cores, and their evaluation."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ...core.job import Device
from ..base import RunContext, Stopped
from ..device import torch_device
from ..threads import max_threads
from .augmentation import AugmentationConfig
from .dice_model import DiceModel
from .evaluation import HeldOutResult, evaluate_held_out, fit_inverse_temperature
from .member_training import MemberConfig, MemberTraining, memory_format, new_network
from .model_file import ModelDescription, load_start, write_model
from .report import SpecialistReport
from .training_data import LOADING_FRACTION, TrainingData

ENGINE = "specialist"
_MAX_PARALLEL_TRAININGS = 8
# Examples that the networks are evaluated on, at most: more would hardly change the estimate.
_MAX_EVALUATED = 40
# Examples that are evaluated even after the time limit.
_MIN_EVALUATED = 8
# Fraction of the progress that the evaluation takes.
_EVALUATION_FRACTION = 0.05
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Limits:
    """Time limits of a training.

    Attributes
    ----------
    began : float
        Value of `time.monotonic()` at the start of the call.
    training : float
        Seconds for all networks together, including the time before they were resumed.
    evaluation : float
        Seconds for the evaluation that follows.
    """

    began: float
    training: float
    evaluation: float


@dataclass(frozen=True)
class _TrainedNetwork:
    """Weights of a network, and what their training took, including the time before it was resumed."""

    state: Mapping[str, torch.Tensor]
    steps: int
    seconds: float


def train_ensemble(
    training: TrainingData,
    folder: Path,
    limits: Limits,
    device: Device,
    context: RunContext,
    config: MemberConfig | None,
) -> SpecialistReport:
    """Train one network for each split, evaluate each on its held-out patients, and write the model.

    Parameters
    ----------
    training : TrainingData
    folder : Path
        Folder for the model.
    limits : Limits
    device, context, config
        As in `fit_specialist`.
    """
    chosen_device = torch_device(device, ENGINE)
    count = len(training.splits)
    parallel = 1 if chosen_device.type != "cpu" else max_threads(min(count, _MAX_PARALLEL_TRAININGS))
    seconds_per_network = limits.training * parallel / count
    networks = _train_networks(
        training, parallel, seconds_per_network, chosen_device, context, config or MemberConfig()
    )
    states = [network.state for network in networks]
    held_out = _held_out_results(training, states, chosen_device, limits.evaluation, context)
    inverse_temperature = fit_inverse_temperature(held_out)
    dice = DiceModel.fit(*_dice_by_patient(held_out, inverse_temperature), count) if held_out else None
    seconds = max(time.monotonic() - limits.began, sum(network.seconds for network in networks) / parallel)
    report = SpecialistReport(
        expected_dice=dice.of_task() if dice else (),
        examples=len(training.patients),
        patients=len(set(training.patients)),
        steps=sum(network.steps for network in networks),
        seconds=round(seconds, 1),
    )
    description = ModelDescription(
        plan=training.plan,
        members=count,
        inverse_temperature=inverse_temperature,
        dice=dice,
        folds=training.record.folds if count > 1 else {},
        fingerprint=training.record.fingerprint,
    )
    write_model(folder, description, states, report)
    return report


def _train_networks(
    training: TrainingData,
    parallel: int,
    seconds_per_network: float,
    device: torch.device,
    context: RunContext,
    config: MemberConfig,
) -> list[_TrainedNetwork]:
    """Train a network for each split, `parallel` of them at a time; each continues from its checkpoint."""
    count = len(training.splits)
    config = replace(config, threads=max(1, max_threads(os.cpu_count() or 1) // parallel))
    earlier = load_start(training.arguments.start, training.plan, training.record.folds, count)
    progress = SharedProgress(context, count, LOADING_FRACTION, 1 - _EVALUATION_FRACTION)

    def train(number: int) -> _TrainedNetwork:
        member = MemberTraining(
            training.plan,
            training.cache.read,
            training.splits[number].training,
            training.arguments.seed * 1000 + number,
            device,
            config,
            AugmentationConfig.for_plan(training.plan),
            start=earlier[number] if earlier else None,
        )
        checkpoint = training.folder / f"checkpoint-{number}.pt"
        member.resume(checkpoint)
        state = member.train(seconds_per_network, checkpoint, lambda fraction: progress.member(number, fraction))
        return _TrainedNetwork(state, member.steps, member.seconds)

    with ThreadPoolExecutor(parallel) as pool:
        return progress.results([pool.submit(train, number) for number in range(count)])


class SharedProgress:
    """Progress of several trainings as one fraction.

    Parameters
    ----------
    context : RunContext
    count : int
    first, last : float
        The fractions of the whole run at which the trainings begin and end.
    """

    def __init__(self, context: RunContext, count: int, first: float, last: float) -> None:
        self._context = context
        self._fractions = [0.0] * count
        self._first, self._last = first, last
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def member(self, number: int, fraction: float) -> None:
        """Report the fraction of one training; raises `Stopped` if the run should stop or another training failed."""
        if self._ended.is_set():
            raise Stopped
        with self._lock:
            self._fractions[number] = fraction
            mean = sum(self._fractions) / len(self._fractions)
            self._context.report_progress(self._first + (self._last - self._first) * mean)

    def results(self, futures: Sequence[Future[_Result]]) -> list[_Result]:
        """Results of all trainings. If one raises an exception, the others are ended and the exception is raised."""
        failure: BaseException | None = None
        results = []
        for future in futures:
            try:
                results.append(future.result())
            except BaseException as error:
                self._ended.set()
                if failure is None or isinstance(failure, Stopped):
                    failure = error
        if failure is not None:
            raise failure
        return results


def _held_out_results(
    training: TrainingData,
    states: Sequence[Mapping[str, torch.Tensor]],
    device: torch.device,
    seconds: float,
    context: RunContext,
) -> list[HeldOutResult]:
    """Results of the networks on examples of their held-out patients, in random order until the time limit."""
    pairs = [(number, index) for number, split in enumerate(training.splits) for index in split.unseen]
    order = np.random.default_rng(training.arguments.seed).permutation(len(pairs))[:_MAX_EVALUATED]
    pairs = [pairs[position] for position in order]
    began = time.monotonic()
    results = []
    torch.set_num_threads(max_threads(os.cpu_count() or 1))
    for done, (number, index) in enumerate(pairs):
        if done >= _MIN_EVALUATED and time.monotonic() - began > seconds:
            break
        network = new_network(training.plan)
        network.load_state_dict(dict(states[number]))
        network.eval().to(device, memory_format=memory_format(training.plan))  # type: ignore[call-overload]
        results.append(evaluate_held_out(network, training, index, device))
        context.report_progress(1 - _EVALUATION_FRACTION * (1 - (done + 1) / len(pairs)))
    return results


def _dice_by_patient(results: Sequence[HeldOutResult], inverse_temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """True and soft Dice, each `[patients, labels]`: the mean over the examples of a patient."""
    patients = sorted({result.patient for result in results})
    true, soft = [], []
    for patient in patients:
        patient_results = [result for result in results if result.patient == patient]
        true.append(_nan_mean([result.true for result in patient_results]))
        soft.append(_nan_mean([result.soft(inverse_temperature) for result in patient_results]))
    return np.array(true), np.array(soft)


def _nan_mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over arrays that ignores NaN, without the warning of `numpy.nanmean` where all are NaN."""
    stacked = np.array(arrays)
    defined = ~np.isnan(stacked)
    total = np.where(defined, stacked, 0).sum(axis=0)
    result: np.ndarray = np.where(defined.any(axis=0), total / np.maximum(1, defined.sum(axis=0)), np.nan)
    return result
