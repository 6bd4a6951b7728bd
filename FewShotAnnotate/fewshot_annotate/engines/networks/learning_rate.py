"""Learning rate during a training whose end is a time limit."""

from __future__ import annotations

import math

# Fraction of the largest learning rate at the start of the warm-up.
_FIRST_FACTOR = 0.04


def learning_rate_factor(completed: float, warm_up: float) -> float:
    """Factor of the largest learning rate: linear warm-up, then cosine decay to 0.

    The schedulers of torch need the number of steps, which is unknown in advance with a time limit.

    Parameters
    ----------
    completed : float
        Fraction of the training that is done, in 0..1.
    warm_up : float
        Fraction of the training in which the learning rate rises.
    """
    if completed < warm_up:
        return _FIRST_FACTOR + (1 - _FIRST_FACTOR) * completed / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (completed - warm_up) / (1 - warm_up))
