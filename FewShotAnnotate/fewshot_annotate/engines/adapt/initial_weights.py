"""Weights of the network before it is fitted, trained on synthetic volumes.

`Testing/Benchmarks/initial_weights.py` trained them to fill slices between labelled ones. The file holds a network
for one channel and `LABELS` labels. For more channels the first convolution is repeated and divided by their number;
further labels start with the weights of the first ones again.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ...core.errors import InputError
from ...core.reading import DamagedContentError, decoding_archive
from .config import NetworkConfig
from .network import UNet
from .stack import POSITIONS

FILE = Path(__file__).with_name("initial_weights.npz")
LABELS = 8
# Settings on which the shapes of the weights depend, beside the numbers of channels and labels.
SIZES = ("context", "channels", "patch", "prior_channels")


def write_initial_weights(network: UNet, path: Path) -> None:
    """Write the weights of a network with one channel and `LABELS` labels, as float16."""
    state = {name: weight.numpy().astype(np.float16) for name, weight in network.state_dict().items()}
    np.savez_compressed(path, **state)


def load_initial_weights(network: UNet, config: NetworkConfig) -> bool:
    """Load the weights of the file into a network of the size that they were trained for.

    Parameters
    ----------
    network : UNet
        With any number of channels and classes; not modified if another of its sizes differs from the defaults.
    config : NetworkConfig
        That of the network.

    Returns
    -------
    bool
        True if the weights were loaded; False for a network of another size.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    if any(getattr(config, name) != getattr(NetworkConfig(), name) for name in SIZES):
        return False
    trained = trained_weights()
    classes = network.mix.in_channels
    label_indices = [0, *(1 + label % LABELS for label in range(classes - 1))]
    state = dict(trained)
    state["mix.weight"] = trained["mix.weight"][:, label_indices]
    for name in ("head.weight", "head.bias"):
        by_class = trained[name].unflatten(0, (LABELS + 1, -1))
        state[name] = by_class[label_indices].flatten(0, 1)
    first = "down.0.0.weight"
    channels = network.images // len(config.context)
    state[first] = _repeated_for_channels(trained[first], channels, network.patch**2, network.mix.out_channels)
    network.load_state_dict(state)
    return True


def _repeated_for_channels(weight: torch.Tensor, channels: int, pixels: int, priors: int) -> torch.Tensor:
    """Weights of the first convolution for several channels, each with an equal share.

    Parameters
    ----------
    weight : tensor, shape [outputs, inputs, 3, 3]
        Inputs: slices times pixels of a patch, then positions and priors.
    channels : int
    pixels : int
        Pixels of a patch.
    priors : int
        Channels of the prior.
    """
    others = POSITIONS + priors
    images = weight[:, :-others].unflatten(1, (-1, 1, pixels))
    images = images.expand(-1, -1, channels, -1, -1, -1) / channels
    return torch.cat([images.flatten(1, 3), weight[:, -others:]], dim=1)


@lru_cache(maxsize=1)
def trained_weights() -> dict[str, torch.Tensor]:
    """Weights of the file by name, float32; raises `InputError` if it is missing or damaged."""
    try:
        with FILE.open("rb") as file, decoding_archive(), np.load(file) as arrays:
            return {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    except (OSError, DamagedContentError):
        raise InputError("installation_damaged", path=FILE) from None
