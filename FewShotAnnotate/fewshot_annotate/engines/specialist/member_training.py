"""Training of one network of the ensemble, which can be resumed from a checkpoint.

Weight averaging after Polyak & Juditsky (1992), Muon after Jordan et al. (2024).
"""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ...core.reading import DamagedContentError, decoding_archive
from ...core.storage import write_bytes
from ..device import has_bfloat16
from ..networks.learning_rate import learning_rate_factor
from ..networks.muon import Muon
from ..threads import TORCH_RANDOM_STATE_LOCK
from .augmentation import Augmentation, AugmentationConfig
from .network import SpecialistUNet
from .plan import SpecialistPlan
from .preparation import PreparedExample
from .sampling import PatchSampler

MAX_GRADIENT_NORM = 5.0
# A label with fewer voxels in a batch does not count in its Dice loss.
_MIN_VOXELS = 5.0


@dataclass(frozen=True, kw_only=True)
class MemberConfig:
    """Settings of a training.

    Attributes
    ----------
    learning_rate : float
        Largest learning rate of AdamW.
    weight_decay : float
    muon_step, muon_momentum : float
        Parameters of `Muon`, which updates the inner convolutions.
    warm_up : float
        Fraction of the training in which the learning rate rises.
    averaging_steps : int
        Length of the moving average of the weights, in steps.
    checkpoint_seconds : float
        Time between two checkpoints.
    threads : int
        Threads that torch uses for this training.
    max_steps : int
        Steps after which the training ends even if time is left.
    clock : function
        Returns the time in seconds, which the time limit is compared with.
    """

    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    muon_step: float = 0.06
    muon_momentum: float = 0.9
    warm_up: float = 0.1
    averaging_steps: int = 50
    checkpoint_seconds: float = 20.0
    threads: int = 1
    max_steps: int = 20_000
    clock: Callable[[], float] = time.monotonic


class MemberTraining:
    """One network, its optimisers and its random state.

    Parameters
    ----------
    plan : SpecialistPlan
    read : function
        Reads a prepared example by its index.
    indices : sequence of int
        The examples to train on.
    seed : int
    device : torch.device
    config : MemberConfig
    augmentation : AugmentationConfig
    start : mapping of str to tensor, optional
        Initial weights.
    """

    def __init__(
        self,
        plan: SpecialistPlan,
        read: Callable[[int], PreparedExample],
        indices: Sequence[int],
        seed: int,
        device: torch.device,
        config: MemberConfig,
        augmentation: AugmentationConfig,
        start: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self._plan, self._config, self._device = plan, config, device
        self._random = np.random.default_rng(seed)
        self._augmentation = Augmentation(plan, augmentation, self._random)
        self._sampler = PatchSampler(read, indices, plan, self._random)
        with TORCH_RANDOM_STATE_LOCK:
            torch.manual_seed(seed)
            network = new_network(plan)
        if start is not None:
            network.load_state_dict(start)
        self._network = network.to(device, memory_format=memory_format(plan))  # type: ignore[call-overload]
        self._averaged = copy.deepcopy(self._network)
        self._weights = list(self._network.parameters())
        inner = [
            weight
            for blocks in (network.down, network.up)
            for weight in blocks.parameters()
            if weight.ndim == 2 + plan.dimensions
        ]
        self._muon = Muon(inner, config.muon_step, config.muon_momentum)
        by_muon = {id(weight) for weight in inner}
        others = [weight for weight in self._weights if id(weight) not in by_muon]
        self._adam = torch.optim.AdamW(others, config.learning_rate, weight_decay=config.weight_decay)
        self.steps = 0
        self.seconds = 0.0

    def train(
        self, seconds: float, checkpoint: Path, on_progress: Callable[[float], object]
    ) -> dict[str, torch.Tensor]:
        """Train until the time limit and return the averaged weights, on the CPU.

        Parameters
        ----------
        seconds : float
            Time limit, including the `self.seconds` that were spent before the training was resumed.
        checkpoint : Path
            File that checkpoints are written to; see `resume`.
        on_progress : function
            Called after each step with the fraction that is done. If it raises an exception, the training ends.
        """
        torch.set_num_threads(self._config.threads)
        clock = self._config.clock
        began, spent, saved = clock(), self.seconds, clock()
        while True:
            fraction = max(self.seconds / seconds, self.steps / self._config.max_steps)
            if fraction >= 1:
                break
            self._step(fraction)
            self.seconds = spent + clock() - began
            try:
                on_progress(min(1.0, fraction))
            except BaseException:
                self.save(checkpoint)
                raise
            if clock() - saved > self._config.checkpoint_seconds:
                self.save(checkpoint)
                saved = clock()
        self.save(checkpoint)
        return {name: value.detach().cpu() for name, value in self._averaged.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically; raises `InputError` if that fails."""
        state = {
            "network": self._network.state_dict(),
            "averaged": self._averaged.state_dict(),
            "adam": self._adam.state_dict(),
            "muon": self._muon.means,
            "random": json.dumps(self._random.bit_generator.state),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        stream = io.BytesIO()
        torch.save(state, stream)
        write_bytes(path, stream.getvalue())

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint; one that cannot be read is ignored."""
        try:
            with decoding_archive():
                state: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
                self._network.load_state_dict(state["network"])
                self._averaged.load_state_dict(state["averaged"])
                self._adam.load_state_dict(state["adam"])
                for mean, saved in zip(self._muon.means, state["muon"], strict=True):
                    mean.copy_(saved)
                self._random.bit_generator.state = json.loads(state["random"])
                self.steps, self.seconds = int(state["steps"]), float(state["seconds"])
        except (OSError, UnpicklingError, DamagedContentError):
            return

    def _step(self, fraction: float) -> None:
        factor = learning_rate_factor(fraction, self._config.warm_up)
        for group in self._adam.param_groups:
            group["lr"] = self._config.learning_rate * factor
        patches = [self._augmentation.patch(*self._sampler.draw()) for _ in range(self._plan.batch)]
        image = torch.stack([patch for patch, _ in patches]).to(self._device)
        target = torch.stack([labels for _, labels in patches]).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=has_bfloat16(self._device)):
            logits = self._network(image.contiguous(memory_format=memory_format(self._plan)))
        self._network.zero_grad()
        masked_loss(logits, target).backward()
        nn.utils.clip_grad_norm_(self._weights, MAX_GRADIENT_NORM)
        self._adam.step()
        self._muon.step(factor)
        self.steps += 1
        share = max(1 / self._config.averaging_steps, 9 / (self.steps + 9))
        with torch.no_grad():
            for average, weight in zip(self._averaged.parameters(), self._weights, strict=True):
                average.lerp_(weight, share)


def new_network(plan: SpecialistPlan) -> SpecialistUNet:
    """Network of a plan with random weights."""
    return SpecialistUNet(plan.inputs, plan.labels + 1, plan.channels, plan.fold, plan.pools)


def memory_format(plan: SpecialistPlan) -> torch.memory_format:
    """Memory format in which convolutions are fastest."""
    return torch.channels_last_3d if plan.dimensions == 3 else torch.channels_last


def masked_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus the mean Dice loss of the labels in the target (Milletari et al., 2016).

    Parameters
    ----------
    logits : float32 tensor, shape [batch, labels + 1, ...]
    target : float32 tensor of the same shape
        Fraction of each label index in each voxel. A voxel whose fractions are all 0 is not labelled and is ignored.
    """
    log = functional.log_softmax(logits, dim=1)
    weight = target.sum(dim=1)
    entropy = -(target * log).sum() / weight.sum().clamp(min=1)
    axes = [0, *range(2, logits.ndim)]
    probabilities = log.exp() * weight[:, None]
    overlap, true_size = (probabilities * target).sum(dim=axes)[1:], target.sum(dim=axes)[1:]
    sizes = probabilities.sum(dim=axes)[1:] + true_size
    present = (true_size > _MIN_VOXELS).float()
    dice_loss = 1 - (2 * overlap + 1) / (sizes + 1)
    return entropy + (dice_loss * present).sum() / present.sum().clamp(min=1)
