"""Muon: a step of a small convolution weight, whose gradient has very different singular values."""

from __future__ import annotations

import pytest
import torch
from fewshot_annotate.engines.networks.muon import Muon

# More and fewer outputs than weights of each output.
SHAPES = [(4, 2, 3, 3), (18, 4, 1, 1)]
SINGULAR_VALUES = (1.0, 0.3, 0.1, 0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_updates_are_orthogonal_and_keep_the_norm_of_the_weight(shape: tuple[int, ...]) -> None:
    gradient = torch.zeros(shape)
    gradient.view(len(gradient), -1)[range(4), range(4)] = torch.tensor(SINGULAR_VALUES)
    weight = torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    weight.grad, norm = gradient, weight.norm().item()
    # The step is so long that hardly anything but the update is left of the weight.
    Muon([weight], step_length=1000.0, momentum=0.0).step(rate=1.0)
    singular_values = torch.linalg.svdvals(weight.detach().reshape(len(weight), -1))
    assert singular_values.max() < 2 * singular_values.min()
    assert (weight * gradient).sum() < 0
    assert weight.norm().item() == pytest.approx(norm)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_update_is_that_of_the_published_iteration(shape: tuple[int, ...]) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    matrix = gradient.reshape(len(gradient), -1)
    matrix /= matrix.norm()
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    weight = torch.nn.Parameter(torch.zeros(shape))
    weight.data[0] = 1e-6
    weight.grad = gradient
    # The step is so long that hardly anything but the update is left of the weight.
    Muon([weight], step_length=1e6, momentum=0.0).step(rate=1.0)
    torch.testing.assert_close(-weight / weight.norm(), matrix.reshape(shape) / matrix.norm(), rtol=1e-4, atol=1e-5)


def test_weights_that_are_updated_together_change_as_each_alone() -> None:
    def weights(memory_format: torch.memory_format) -> list[torch.nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        found = []
        for shape in [(4, 2, 3, 3), (4, 6, 3, 3), (18, 4, 1, 1), (4, 3, 3, 2)]:
            weight, gradient = (torch.randn(shape, generator=generator) for _ in range(2))
            found.append(torch.nn.Parameter(weight.to(memory_format=memory_format)))
            found[-1].grad = gradient.to(memory_format=memory_format)
        return found

    together, alone = weights(torch.channels_last), weights(torch.contiguous_format)
    Muon(together, step_length=0.1, momentum=0.0).step(rate=1.0)
    for one, other in zip(together, alone, strict=True):
        Muon([other], step_length=0.1, momentum=0.0).step(rate=1.0)
        torch.testing.assert_close(one, other)
