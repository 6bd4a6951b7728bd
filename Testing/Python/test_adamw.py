"""AdamW: the same steps as those of torch's class, without its compiler."""

from __future__ import annotations

import pytest
import torch
from fewshot_annotate.engines.networks.adamw import AdamW

LEARNING_RATES = [1e-2, 3e-2, 1e-3]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_the_class_of_torch(weight_decay: float) -> None:
    random = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=random) for shape in ((3, 2, 3, 3), (5,))]
    ours, theirs = ([torch.nn.Parameter(weight.clone()) for weight in start] for _ in range(2))
    adamw = AdamW(ours, weight_decay)
    expected = torch.optim.AdamW(theirs, weight_decay=weight_decay, fused=True)
    for learning_rate in LEARNING_RATES:
        for weight, other in zip(ours, theirs, strict=True):
            weight.grad = torch.randn(weight.shape, generator=random)
            other.grad = weight.grad.clone()
        adamw.step(learning_rate)
        expected.param_groups[0]["lr"] = learning_rate
        expected.step()
    for weight, other, before in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=0)
        assert not torch.equal(weight, before)
