"""Fine-tuning of trained networks on the labelled slices of one volume.

Where nothing is labelled, the predictions of the networks before are kept (distillation: Li & Hoiem, "Learning
without forgetting", 2016), as a few slices are not representative of the others.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..device import has_bfloat16
from ..networks.adamw import AdamW
from ..threads import ENGINE_THREADS
from .augmentation import Augmentation, AugmentationConfig
from .fine_tuning_config import FineTuningConfig
from .member_training import MAX_GRADIENT_NORM, masked_loss, memory_format
from .network import SpecialistUNet
from .plan import SpecialistPlan
from .preparation import PreparedExample
from .sampling import PatchSampler

# Expected error (1 - Dice) after fine-tuning relative to that before. This and the settings below were chosen on a
# few hippocampi and hearts; `Testing/Benchmarks/fine_tuning.py` compares other values.
ERROR_RATIO = 0.8


def fine_tuned(
    networks: Sequence[SpecialistUNet],
    plan: SpecialistPlan,
    example: PreparedExample,
    device: torch.device,
    on_progress: Callable[[float], object] = lambda fraction: None,
    seconds: float = math.inf,
    config: FineTuningConfig | None = None,
) -> list[SpecialistUNet] | None:
    """Copies of networks, fine-tuned on the labelled slices of a volume; None if there is too little time.

    Parameters
    ----------
    networks : sequence of SpecialistUNet
        They do not change.
    plan : SpecialistPlan
    example : PreparedExample
        At least one slice is labelled.
    device : torch.device
        Device of the networks.
    on_progress : function
        Called after each step, in one of several threads, with the fraction that is done.
    seconds : float
        Time limit. The time that all steps take is estimated after each of them.
    config : FineTuningConfig, optional
    """
    config = config or FineTuningConfig()
    began, lock = time.monotonic(), threading.Lock()
    done, total = 0, len(networks) * config.steps

    def tuned(number: int) -> SpecialistUNet | None:
        nonlocal done
        tuning = _FineTuning(networks[number], plan, example, device, number, config)
        for step in range(config.steps):
            tuning.step(step / config.steps)
            with lock:
                done += 1
                on_progress(done / total)
                if (time.monotonic() - began) * total / done > seconds:
                    return None
        return tuning.network.eval()

    # One network in each thread, because `adapt` lets torch use a single thread.
    with ThreadPoolExecutor(ENGINE_THREADS) as threads:
        result = list(threads.map(tuned, range(len(networks))))
    return None if None in result else [network for network in result if network is not None]


class _FineTuning:
    """Fine-tuning of one network."""

    def __init__(
        self,
        before: SpecialistUNet,
        plan: SpecialistPlan,
        example: PreparedExample,
        device: torch.device,
        seed: int,
        config: FineTuningConfig,
    ) -> None:
        self.network = copy.deepcopy(before)
        self._before, self._plan, self._example, self._device, self._config = before, plan, example, device, config
        self._random = np.random.default_rng(seed)
        self._augmentation = Augmentation(plan, AugmentationConfig.none(), self._random)
        self._sampler = PatchSampler(lambda index: example, [0], plan, self._random)
        self._weights = [weight.requires_grad_() for weight in self.network.parameters()]
        self._adam = AdamW(self._weights)

    def step(self, fraction: float) -> None:
        """One step, after this fraction of all steps."""
        image, target = self._batch()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=has_bfloat16(self._device)):
            with torch.no_grad():
                before = torch.softmax(self._before(image).float(), dim=1)
            logits = self.network(image)
        loss = masked_loss(logits, target)
        unlabelled = 1 - target.sum(dim=1)
        entropy = -(before * functional.log_softmax(logits.float(), dim=1)).sum(dim=1)
        distillation = (entropy * unlabelled).sum() / unlabelled.sum().clamp(min=1)
        for weight in self._weights:
            weight.grad = None
        (loss + self._config.distillation * distillation).backward()
        nn.utils.clip_grad_norm_(self._weights, MAX_GRADIENT_NORM)
        self._adam.step(self._config.learning_rate * 0.5 * (1 + math.cos(math.pi * fraction)))

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and the fractions of each label of one patch; in 2D, also of one on any slice."""
        draws = [self._sampler.draw()]
        if self._plan.dimensions == 2:
            draws.append((self._example, self._on_any_slice(draws[0][1])))
        patches = [self._augmentation.patch(*draw) for draw in draws]
        image = torch.stack([patch for patch, _ in patches]).to(self._device)
        target = torch.stack([labels for _, labels in patches]).to(self._device)
        return image.contiguous(memory_format=memory_format(self._plan)), target

    def _on_any_slice(self, centre: np.ndarray) -> np.ndarray:
        moved = centre.copy()
        moved[0] = self._random.integers(len(self._example.image))
        return moved
