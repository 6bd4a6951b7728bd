"""Trains the weights that the network of `adapt` starts from, on synthetic volumes.

The network fills slices between labelled ones of many synthetic volumes (`synthetic_volumes.py`), with the images,
the prior, the crops and the loss of a fit by `adapt`. The labels of each batch are assigned to the classes of the
network at random, so that no class stands for a particular structure. About 45 minutes on one core.

    python Testing/Benchmarks/initial_weights.py -o FewShotAnnotate/fewshot_annotate/engines/adapt/initial_weights.npz
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fewshot_annotate.engines.adapt.batches import Batches
from fewshot_annotate.engines.adapt.candidates import CandidatePool
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.fitting import MAX_GRADIENT_NORM, average_weights, cross_entropy_and_dice
from fewshot_annotate.engines.adapt.initial_weights import LABELS, write_initial_weights
from fewshot_annotate.engines.adapt.network import UNet
from fewshot_annotate.engines.adapt.stack import Stack
from fewshot_annotate.engines.adapt.training import default_prediction
from fewshot_annotate.engines.networks.adamw import AdamW
from fewshot_annotate.engines.networks.learning_rate import learning_rate_factor
from fewshot_annotate.engines.networks.muon import Muon
from rich.progress import track
from synthetic_volumes import LabelledVolume, labelled_volume
from torch.optim.swa_utils import AveragedModel

CONFIG = AdaptConfig()
QUERY_SLICES = 14
LEARNING_RATE, MUON_STEP, WARM_UP = 2e-3, 0.03, 0.03
AVERAGING_STEPS = 500


@dataclass(frozen=True)
class TrainingVolume:
    """Slices of a synthetic volume that the network is trained on, cropped to the window.

    Attributes
    ----------
    images : float16 ndarray, shape [n, channels, h, w]
    truth : uint8 ndarray, shape [n, h, w]
    labels : int
        Number of labels.
    priors : list of (int, bool, float16 ndarray of shape [labels + 1, h, w])
        Index of the slice, whether it is a labelled slice, held out, and its fused candidates.
    """

    images: np.ndarray
    truth: np.ndarray
    labels: int
    priors: list[tuple[int, bool, np.ndarray]]

    @classmethod
    def of(cls, case: LabelledVolume, rng: np.random.Generator) -> TrainingVolume:
        """Predict random query slices and each inner labelled slice, held out, by the candidates of `adapt`."""
        support = case.support
        pool = CandidatePool(case.volume, support, CONFIG.candidates)
        query = support.unlabelled(support.labelled_range())
        chosen = set(rng.permutation(query)[:QUERY_SLICES].tolist())
        predicted = [
            (index, False, log_probs)
            for gap in support.gaps(query)
            for index, log_probs in pool.candidates([index for index in gap.slices if index in chosen])
        ]
        for support_index in range(1, len(support.indices) - 1):
            held_out = pool.neighbours_of(support_index).candidates([support.indices[support_index]])
            predicted += [(index, True, log_probs) for index, log_probs in held_out]
        return cls(
            np.stack([pool.contrasted(index) for index in range(len(case.truth))]).astype(np.float16),
            case.truth[(slice(None), *pool.window)],
            len(support.labels),
            [
                (index, labelled, default_prediction(log_probs.astype(np.float16), CONFIG.fusion).astype(np.float16))
                for index, labelled, log_probs in predicted
            ],
        )

    def batches(self, seed: int) -> Batches:
        """Random crops of its slices."""
        stack = Stack(
            lambda index: self.images[index].astype(np.float32),
            len(self.images),
            self.images.shape[2:],
            torch.device("cpu"),
            CONFIG.network,
        )
        classes = np.eye(self.labels + 1, dtype=np.float32)
        examples = [
            stack.example(index, classes[self.truth[index]].transpose(2, 0, 1), prior.astype(np.float32), labelled)
            for index, labelled, prior in self.priors
        ]
        return Batches(stack, examples, seed)


def training_volumes(count: int, folder: Path) -> Iterator[tuple[int, Batches]]:
    """Number of labels and random crops of synthetic volumes; those that the folder holds are not made again."""
    for seed in track(range(count), "volumes"):
        path = folder / f"{seed}.pt"
        if not path.exists():
            rng = np.random.default_rng(seed)
            partial_path = path.with_suffix(".partial")
            torch.save(vars(TrainingVolume.of(labelled_volume(rng), rng)), partial_path)
            partial_path.replace(path)
        volume = TrainingVolume(**torch.load(path, weights_only=False))
        yield volume.labels, volume.batches(seed)


def train(volumes: list[tuple[int, Batches]], steps: int) -> UNet:
    """Train the network of `adapt` with one image channel on crops of all volumes, on one core."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = UNet(LABELS + 1, CONFIG.network).to(memory_format=torch.channels_last)
    averaged = AveragedModel(network, multi_avg_fn=partial(average_weights, 1 - 1 / AVERAGING_STEPS))
    averaged.update_parameters(network)
    muon = Muon(network.inner_weights(), MUON_STEP, CONFIG.network.muon_momentum)
    by_muon = {id(weight) for weight in muon.weights}
    others = [weight for weight in network.parameters() if id(weight) not in by_muon]
    adam = AdamW(others, CONFIG.network.weight_decay)
    for step in track(range(steps), "steps"):
        factor = learning_rate_factor(step / steps, WARM_UP)
        labels, batches = volumes[rng.integers(len(volumes))]
        inputs, target, prior = batches.draw()
        classes = [0, *(1 + rng.permutation(LABELS)[:labels])]
        for parameter in network.parameters():
            parameter.grad = None
        logits = network(inputs.float(), _spread(prior, classes))
        cross_entropy_and_dice(logits, _spread(target, classes)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
        adam.step(LEARNING_RATE * factor)
        muon.step(factor)
        averaged.update_parameters(network)
    network.load_state_dict(averaged.module.state_dict())
    return network


def _spread(maps: torch.Tensor, classes: list[int]) -> torch.Tensor:
    """Maps `[batch, labels + 1, h, w]` as those of the given classes of the network; 0 for its other classes."""
    result = torch.zeros(len(maps), LABELS + 1, *maps.shape[2:])
    result[:, classes] = maps.float()
    return result


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=400, help="number of synthetic volumes")
    parser.add_argument("--steps", type=int, default=15000)
    parser.add_argument("--cache", type=Path, help="keeps the slices of the volumes")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = arguments.cache or Path(folder)
        cache.mkdir(parents=True, exist_ok=True)
        volumes = list(training_volumes(arguments.volumes, cache))
        write_initial_weights(train(volumes, arguments.steps), arguments.output)


if __name__ == "__main__":
    main()
