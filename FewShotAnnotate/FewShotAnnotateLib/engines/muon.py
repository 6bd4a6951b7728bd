"""Muon: an optimizer that takes even steps in all directions of a convolution's weights, so that few steps do.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Here the norm of each weight stays
what it was at first, for the normalisation that follows undoes scale; so a step is an angle.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

# Length of a step at full rate, as part of the weights' own norm per output channel.
STEP = 0.06
MOMENTUM = 0.9
# Coefficients of the odd polynomial that, applied some times, moves all singular values near to 1 (Jordan et al.).
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


class Muon:
    """Steps of weights of convolutions that a normalisation follows.

    Parameters
    ----------
    weights : iterable of Parameter, shape [outputs, inputs, h, w]
    """

    def __init__(self, weights: Iterable[torch.nn.Parameter]) -> None:
        self._weights = list(weights)
        self._norms = [weight.detach().norm() for weight in self._weights]
        self._means = [torch.zeros_like(weight) for weight in self._weights]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the weights against their gradients.

        Parameters
        ----------
        rate : float
            Part of the full step, 0..1.
        """
        for weight, norm, mean in zip(self._weights, self._norms, self._means, strict=True):
            assert weight.grad is not None
            mean.lerp_(weight.grad, 1 - MOMENTUM)
            towards = _even(weight.grad.lerp(mean, MOMENTUM))
            outputs, inputs = len(weight), weight[0].numel()
            length = rate * STEP * norm * max(1.0, outputs / inputs) ** 0.5 / outputs**0.5
            weight.sub_(towards * length)
            weight.mul_(norm / weight.norm())


def _even(gradient: torch.Tensor) -> torch.Tensor:
    """The nearest to `gradient` of those whose singular values are all about 1."""
    matrix = gradient.reshape(len(gradient), -1).float()
    turned = matrix.shape[0] > matrix.shape[1]
    if turned:
        matrix = matrix.T
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = matrix @ matrix.T
        matrix = _LINEAR * matrix + (_CUBIC * square + _QUINTIC * square @ square) @ matrix
    return (matrix.T if turned else matrix).reshape(gradient.shape)
