"""Fit of a network on labelled slices and soft targets.

Distillation after Hinton et al. (2015); weight averaging after Polyak & Juditsky (1992).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..device import has_bfloat16
from ..networks.adamw import AdamW
from ..networks.learning_rate import learning_rate_factor
from ..networks.muon import Muon
from ..threads import TORCH_RANDOM_STATE_LOCK
from .batches import Batches
from .initial_weights import load_initial_weights
from .network import FittedNetwork, UNet
from .stack import Stack, TrainingSlice

MAX_GRADIENT_NORM = 5.0


def fit(
    stack: Stack,
    examples: Sequence[TrainingSlice],
    steps: int,
    seed: int,
    on_step: Callable[[float], object],
    seconds: float | None = None,
    start: FittedNetwork | None = None,
) -> FittedNetwork:
    """Fit a network on one CPU core; several fits may run in threads at the same time.

    Parameters
    ----------
    stack : Stack
    examples : sequence of TrainingSlice
    steps : int
    seed : int
    on_step : function
        Called after each step with the fraction of the fit, 0..1, that the step completed; its exceptions end the
        fit.
    seconds : float, optional
        Time limit of the fit, which may end it before all steps are done.
    start : FittedNetwork, optional
        Network with the same classes whose weights are the initial ones; it is not modified.
    """
    torch.set_num_threads(1)
    config = stack.config
    batches = Batches(stack, examples, seed)
    with TORCH_RANDOM_STATE_LOCK:
        torch.manual_seed(seed)
        network = copy.deepcopy(start.module) if start else UNet(len(examples[0].target), config, stack.images)
        if start is None and config.pretrained:
            load_initial_weights(network, config)
        network.to(stack.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(network, multi_avg_fn=partial(average_weights, 1 - 1 / config.averaging_steps))
    averaged.update_parameters(network)  # the first time, it copies the initial weights
    weights = list(network.parameters())
    muon = Muon(network.inner_weights() if config.muon else [], config.muon_step, config.muon_momentum)
    by_muon = {id(weight) for weight in muon.weights}
    others = [weight for weight in weights if id(weight) not in by_muon]
    adam = AdamW(others, config.weight_decay)
    began, step, completed = time.monotonic(), 0, 0.0
    while completed < 1:
        factor = learning_rate_factor(completed, config.warm_up)
        inputs, target, prior = batches.draw()
        with torch.autocast(stack.device.type, torch.bfloat16, enabled=has_bfloat16(stack.device)):
            logits = network(inputs, prior)
        for weight in weights:  # faster than `zero_grad`, which collects all modules in each step
            weight.grad = None
        cross_entropy_and_dice(logits, target).backward()
        nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
        adam.step(config.learning_rate * factor)
        muon.step(factor)
        averaged.update_parameters(network)
        step += 1
        spent = 0.0 if seconds is None else (time.monotonic() - began) / seconds
        last, completed = completed, max(step / steps, spent)
        on_step(min(1.0, completed) - last)
    network.load_state_dict(averaged.module.state_dict())
    return FittedNetwork(stack, network.eval(), min(1.0, step / steps), time.monotonic() - began)


def average_weights(
    max_decay: float, averages: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor | int
) -> None:
    """Update averages of the weights in place; the first steps count less than in a plain exponential average."""
    get_ema_multi_avg_fn(min(max_decay, int(count) / (int(count) + 9)))(averages, current, count)


def cross_entropy_and_dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus the mean Dice loss of the labels in the target (Milletari et al., 2016).

    Both tensors are float32 `[batch, labels + 1, h, w]`; the target holds probabilities.
    """
    log = functional.log_softmax(logits, dim=1)
    probabilities = log.exp()
    entropy = -(target * log).sum(dim=1).mean()
    overlap = (probabilities * target).sum(dim=(0, 2, 3))
    sizes = probabilities.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))
    present = (target.sum(dim=(0, 2, 3)) > 5).float()
    dice = 1 - (2 * overlap + 1) / (sizes + 1)
    return entropy + (dice * present).sum() / present.sum().clamp(min=1)
