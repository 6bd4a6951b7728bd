"""Networks for the specialist compared by accuracy after the same processor time: our own and MONAI's.

All are trained by the same loop, with the same cases, plan, patches and augmentation, and evaluated on unseen
patients. MONAI's networks have the settings of its documentation, but fewer channels, so that one core suffices.

    python Testing/Benchmarks/networks.py [--set mr_hippocampus] [--cases 5] [--seconds 40 160] [--patients 8]
        [--networks own BasicUNet UNet]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
import torch
from fewshot_annotate.engines.specialist import member_training
from fewshot_annotate.engines.specialist.augmentation import AugmentationConfig
from fewshot_annotate.engines.specialist.inference import predict_volume
from fewshot_annotate.engines.specialist.member_training import MemberConfig, MemberTraining
from fewshot_annotate.engines.specialist.plan import SpecialistPlan, make_plan
from fewshot_annotate.engines.specialist.prediction import NativeSlices
from fewshot_annotate.engines.specialist.preparation import WorkingGrid, normalised, prepared, summary
from patients import PatientSet, load, mean_dice
from report import markdown_table
from torch import nn

CHANNELS = (24, 48, 96, 96)


class Peer(nn.Module):
    """A network of MONAI with the attributes that the training expects."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()  # so that all weights are fitted by AdamW
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        logits: torch.Tensor = self.network(image)
        return logits


def basic_unet(plan: SpecialistPlan) -> nn.Module:
    """MONAI's BasicUNet."""
    from monai.networks.nets import BasicUNet

    features = (*CHANNELS, CHANNELS[-1], CHANNELS[0])
    return Peer(BasicUNet(plan.dimensions, plan.inputs, plan.labels + 1, features))


def residual_unet(plan: SpecialistPlan) -> nn.Module:
    """MONAI's UNet with residual units."""
    from monai.networks.nets import UNet

    strides = (2,) * (len(CHANNELS) - 1)
    return Peer(UNet(plan.dimensions, plan.inputs, plan.labels + 1, CHANNELS, strides, num_res_units=2))


NETWORKS: Mapping[str, Callable[[SpecialistPlan], nn.Module]] = {
    "own": member_training.new_network,
    "BasicUNet": basic_unet,
    "UNet": residual_unet,
}


def trained(name: str, data: PatientSet, cases: int, seconds: float) -> tuple[nn.Module, SpecialistPlan, int]:
    """Network trained for some seconds of processor time, its plan and the number of steps."""
    examples = data.examples(cases)
    loaded = [example.load() for example in examples]
    summaries = [summary(*pair, example) for pair, example in zip(loaded, examples, strict=True)]
    plan = make_plan(summaries, data.labels)
    ready = [prepared(*pair, example, plan) for pair, example in zip(loaded, examples, strict=True)]
    member_training.new_network = NETWORKS[name]  # type: ignore[assignment]
    config = MemberConfig(clock=time.thread_time, learning_rate=3e-3)
    augmentation = AugmentationConfig.for_plan(plan)
    device = torch.device("cpu")
    training = MemberTraining(plan, ready.__getitem__, range(cases), 0, device, config, augmentation)
    with tempfile.TemporaryDirectory() as scratch:
        state = training.train(seconds, Path(scratch) / "checkpoint.pt", lambda fraction: None)
    network = NETWORKS[name](plan)
    network.load_state_dict(state)
    return network.eval(), plan, training.steps


def evaluated(network: nn.Module, plan: SpecialistPlan, case: Path, labels: int) -> tuple[float, float]:
    """Dice on an unseen patient, and seconds."""
    volume, truth = load(case)
    began = time.thread_time()
    grid = WorkingGrid.of(volume.geometry, plan)
    image = normalised(grid.image(volume.array), plan)
    probabilities = predict_volume([network], plan, image, torch.device("cpu"))  # type: ignore[list-item]
    slices = NativeSlices(probabilities, grid)
    filled = np.stack([slices.read(0, index).argmax(axis=0) for index in range(len(truth))])
    return mean_dice(filled, truth, labels), time.thread_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="mr_hippocampus")
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--seconds", type=float, nargs="+", default=[40.0, 160.0], help="of one core")
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    data = PatientSet.find(options.set)
    torch.set_num_threads(1)
    rows = [["network", "parameters", "training, s of one core", "steps", "Dice on unseen patients", "s per case"]]
    for seconds in options.seconds:
        for name in options.networks:
            network, plan, steps = trained(name, data, options.cases, seconds)
            found = [evaluated(network, plan, case, data.labels) for case in data.unseen[: options.patients]]
            dice, spent = np.mean(found, axis=0)
            parameters = sum(weight.numel() for weight in network.parameters())
            rows.append([name, f"{parameters:,}", f"{seconds:g}", str(steps), f"{dice:.3f}", f"{spent:.2f}"])
            print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(markdown_table(rows)))


if __name__ == "__main__":
    main()
