"""AdamW without the compiler of torch.

`torch.optim.AdamW` loads that compiler when it is made, which takes a second: longer than some fits. The function
that both call does not. Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.optim.adamw import adamw

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class AdamW:
    """Optimiser with the steps of `torch.optim.AdamW`, fused.

    Parameters
    ----------
    weights : iterable of tensor
        Each must have a gradient in each step.
    weight_decay : float
        0 for Adam.
    """

    def __init__(self, weights: Iterable[torch.Tensor], weight_decay: float = 0.0) -> None:
        self.weights = list(weights)
        self._weight_decay = weight_decay
        self._means, self._squares = ([torch.zeros_like(weight) for weight in self.weights] for _ in range(2))
        self._steps = [torch.zeros((), device=weight.device) for weight in self.weights]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update the weights from their gradients."""
        adamw(
            self.weights,
            [weight.grad for weight in self.weights if weight.grad is not None],
            self._means,
            self._squares,
            [],
            self._steps,
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )
