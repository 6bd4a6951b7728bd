"""Muon, an optimiser with orthogonalised updates of convolution weights, which needs few steps.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). torch has one from version 2.9 on,
for matrices only. Here the norm of each weight is kept constant, because the normalisation layer that follows makes
the network independent of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

# Coefficients of the polynomial of the Newton-Schulz iteration that moves all singular values near 1 (Jordan et al.).
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5


class Muon:
    """Optimiser of convolution weights that are followed by a normalisation layer.

    Parameters
    ----------
    weights : iterable of Parameter, shape [outputs, inputs, h, w]
    step_length : float
        At the full learning rate, relative to the norm of the weights per output channel.
    momentum : float
    """

    def __init__(self, weights: Iterable[torch.nn.Parameter], step_length: float, momentum: float) -> None:
        self.weights = list(weights)
        self._step_length = step_length
        self._momentum = momentum
        self._norms = [weight.detach().norm() for weight in self.weights]
        self.means = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights from their gradients.

        Parameters
        ----------
        rate : float
            Learning rate factor, 0..1.
        """
        for weight, norm, mean in zip(self.weights, self._norms, self.means, strict=True):
            assert weight.grad is not None
            mean.lerp_(weight.grad, 1 - self._momentum)
            direction = _orthogonalised(weight.grad.lerp(mean, self._momentum))
            outputs, inputs = len(weight), weight[0].numel()
            length = rate * self._step_length * norm * max(1.0, outputs / inputs) ** 0.5 / outputs**0.5
            weight.sub_(direction * length)
            weight.mul_(norm / weight.norm())


def _orthogonalised(gradient: torch.Tensor) -> torch.Tensor:
    """Approximately orthogonalised `gradient`: all singular values about 1."""
    matrix = gradient.reshape(len(gradient), -1).float()
    transposed = matrix.shape[0] > matrix.shape[1]
    if transposed:
        matrix = matrix.T
    matrix = matrix / (matrix.norm() + 1e-7)
    # Each iteration multiplies by a polynomial of the Gram matrix, so only the small Gram matrix is iterated.
    gram = matrix @ matrix.T
    total = torch.eye(len(gram), device=gram.device)
    for _ in range(_ITERATIONS):
        factor = _CUBIC * gram + _QUINTIC * gram @ gram
        factor.diagonal().add_(_LINEAR)
        total = factor @ total
        gram = factor @ gram @ factor
    matrix = total @ matrix
    update: torch.Tensor = (matrix.T if transposed else matrix).reshape(gradient.shape)
    return update
