"""Weights of the network before it is fitted, trained on synthetic volumes.

`Testing/Benchmarks/initial_weights.py` trained them to fill slices between labelled ones. They are of a network with
one channel and `LABELS` labels; with more channels or labels, the weights of these are used several times.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from .network import UNet
from .stack import POSITIONS

FILE = Path(__file__).with_name("initial_weights.npz")
LABELS = 8


def write_initial_weights(network: UNet, path: Path) -> None:
    """Write the weights of a network with one channel and `LABELS` labels, as float16."""
    state = {name: weight.numpy().astype(np.float16) for name, weight in network.state_dict().items()}
    np.savez_compressed(path, **state)


def load_initial_weights(network: UNet) -> bool:
    """Give a network the weights of the file, if it is of the size that they were trained for.

    Parameters
    ----------
    network : UNet
        With any number of channels and classes; not modified unless its other sizes are those of the file.

    Returns
    -------
    bool
        Whether it was given them.
    """
    trained = _trained()
    random = network.state_dict()
    classes = random["mix.weight"].shape[1]
    label_indices = [0, *(1 + label % LABELS for label in range(classes - 1))]
    state = dict(trained)
    state["mix.weight"] = trained["mix.weight"][:, label_indices]
    for name in ("head.weight", "head.bias"):
        by_class = trained[name].unflatten(0, (LABELS + 1, -1))
        state[name] = by_class[label_indices].flatten(0, 1)
    first = "down.0.0.weight"
    state[first] = _repeated_for_channels(trained[first], random[first].shape[1], network.patch**2)
    if any(weight.shape != random[name].shape for name, weight in state.items()):
        return False
    network.load_state_dict(state)
    return True


def _repeated_for_channels(weight: torch.Tensor, inputs: int, pixels: int) -> torch.Tensor:
    """Weights of the first convolution for several channels, each with an equal share.

    Parameters
    ----------
    weight : tensor, shape [outputs, inputs with one channel, 3, 3]
        Inputs: slices times pixels of a patch, then positions and prior.
    inputs : int
        Inputs wanted: slices times channels times pixels, then the same others.
    pixels : int
        Pixels of a patch.
    """
    others = POSITIONS + _trained()["mix.weight"].shape[0]
    images = weight[:, :-others].unflatten(1, (-1, 1, pixels))
    channels = max(1, (inputs - others) // max(1, images.shape[1] * pixels))
    images = images.expand(-1, -1, channels, -1, -1, -1) / channels
    return torch.cat([images.flatten(1, 3), weight[:, -others:]], dim=1)


@lru_cache(maxsize=1)
def _trained() -> dict[str, torch.Tensor]:
    with np.load(FILE) as arrays:
        return {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
