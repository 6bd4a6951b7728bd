"""Muon, an optimiser with orthogonalised updates of convolution weights, which needs few steps.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). torch has one from version 2.9 on,
for matrices only. Here the norm of each weight is kept constant, because the normalisation layer that follows makes
the network independent of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        gradients = []
        for weight, mean in zip(self.weights, self.means, strict=True):
            assert weight.grad is not None
            mean.lerp_(weight.grad, 1 - self._momentum)
            gradients.append(weight.grad.lerp(mean, self._momentum))
        for weight, norm, direction in zip(self.weights, self._norms, _orthogonalised(gradients), strict=True):
            outputs, inputs = len(weight), weight[0].numel()
            length = rate * self._step_length * norm * max(1.0, outputs / inputs) ** 0.5 / outputs**0.5
            weight.sub_(direction * length)
            weight.mul_(norm / weight.norm())


def _orthogonalised(gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Approximately orthogonalised gradients, `[outputs, inputs, ...]`: all singular values about 1."""
    # The order of the columns is arbitrary, so it is that of the memory, which needs no copy.
    orders = [[0, *sorted(range(1, gradient.ndim), key=gradient.stride, reverse=True)] for gradient in gradients]
    matrices = [gradient.permute(order).flatten(1).float() for gradient, order in zip(gradients, orders, strict=True)]
    is_tall = [matrix.shape[0] > matrix.shape[1] for matrix in matrices]
    wide = [matrix.T if tall else matrix for matrix, tall in zip(matrices, is_tall, strict=True)]
    wide = [matrix / (matrix.norm() + 1e-7) for matrix in wide]
    # Each iteration multiplies by a polynomial of the Gram matrix, so only the small Gram matrices are iterated, all
    # of one size together.
    positions_by_size: dict[int, list[int]] = {}
    for position, matrix in enumerate(wide):
        positions_by_size.setdefault(len(matrix), []).append(position)
    for positions in positions_by_size.values():
        polynomials = _polynomials(torch.stack([wide[position] @ wide[position].T for position in positions]))
        for position, polynomial in zip(positions, polynomials, strict=True):
            wide[position] = polynomial @ wide[position]
    updates = []
    for gradient, order, matrix, tall in zip(gradients, orders, wide, is_tall, strict=True):
        permuted = (matrix.T if tall else matrix).reshape([gradient.shape[axis] for axis in order])
        updates.append(permuted.permute([order.index(axis) for axis in range(gradient.ndim)]))
    return updates


def _polynomials(gram: torch.Tensor) -> torch.Tensor:
    """Product of the polynomials of all iterations for Gram matrices `[n, rows, rows]`."""
    product: torch.Tensor | None = None
    for _ in range(_ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=_CUBIC, alpha=_QUINTIC)
        factor.diagonal(dim1=1, dim2=2).add_(_LINEAR)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    assert product is not None
    return product
