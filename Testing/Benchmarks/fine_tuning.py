"""Settings of a specialist's fine-tuning on painted slices, compared on patients that it was not trained on.

The patients are the last of those that may be trained on, so the model must be of the first ones (`many.py --models`
keeps it). Dice is that of the specialist alone, on slices that are not painted. Distillation keeps it near
its earlier predictions; "error" is the mean error (1 - Dice) relative to that before fine-tuning.

    python Testing/Benchmarks/fine_tuning.py MODEL [--set mr_hippocampus] [--painted 3] [--patients 8]
        [--settings steps=20 steps=40,learning_rate=1e-3 ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
import torch
from fewshot_annotate.core.training_example import TrainingExample
from fewshot_annotate.engines.specialist.fine_tuning import fine_tuned
from fewshot_annotate.engines.specialist.fine_tuning_config import FineTuningConfig
from fewshot_annotate.engines.specialist.inference import predict_volume
from fewshot_annotate.engines.specialist.model_file import load_members, read_description
from fewshot_annotate.engines.specialist.network import SpecialistUNet
from fewshot_annotate.engines.specialist.plan import SpecialistPlan
from fewshot_annotate.engines.specialist.prediction import NativeSlices
from fewshot_annotate.engines.specialist.preparation import WorkingGrid, normalised, prepared
from patients import PatientSet, load, mean_dice, painted_slices
from report import markdown_table

SETTINGS = (
    "steps=20",
    "steps=10",
    "steps=40",
    "learning_rate=1.25e-4",
    "learning_rate=5e-4",
    "distillation=0",
    "distillation=0.3",
    "distillation=3",
    "learning_rate=5e-4,distillation=0.3",
)


def config_of(text: str) -> FineTuningConfig:
    """Default settings, but for those that a text such as `steps=40,distillation=0` names."""
    changed = dict(setting.split("=", 1) for setting in text.split(","))
    types = {"steps": int, "learning_rate": float, "distillation": float}
    return FineTuningConfig(**{name: types[name](value) for name, value in changed.items()})


def dice_of(networks: Sequence[SpecialistUNet], plan: SpecialistPlan, case: Path, painted: int, labels: int) -> float:
    """Mean Dice of networks on the slices of a patient that are not painted."""
    volume, truth = load(case)
    grid = WorkingGrid.of(volume.geometry, plan)
    image = normalised(grid.image(volume.array), plan)
    slices = NativeSlices(predict_volume(networks, plan, image, torch.device("cpu")).astype(np.float32), grid)
    filled = np.stack([slices.read(0, index).argmax(axis=0) for index in range(len(truth))])
    return mean_dice(filled, truth, labels, painted_slices(truth, painted))


def tuned(
    networks: Sequence[SpecialistUNet], plan: SpecialistPlan, case: Path, painted: int, config: FineTuningConfig
) -> Sequence[SpecialistUNet]:
    """Networks fine-tuned on the painted slices of a patient."""
    volume, truth = load(case)
    example = TrainingExample(
        patient=case.name,
        load=lambda: (volume, truth),
        axis=0,
        labelled_slices=tuple(painted_slices(truth, painted)),
    )
    result = fine_tuned(networks, plan, prepared(volume, truth, example, plan), torch.device("cpu"), config=config)
    assert result is not None
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--set", default="mr_hippocampus")
    parser.add_argument("--painted", type=int, default=3)
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--settings", nargs="+", default=SETTINGS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = PatientSet.find(options.set)
    description = read_description(options.model)
    networks, plan = load_members(options.model, description), description.plan
    cases = data.training[-options.patients :]
    before = np.array([dice_of(networks, plan, case, options.painted, data.labels) for case in cases])
    rows = [["setting", "Dice", "worst", "error", "s/case"]]
    rows.append(["not fine-tuned", f"{before.mean():.3f}", f"{before.min():.3f}", "1.00", ""])
    for text in options.settings:
        config, dice, seconds = config_of(text), [], 0.0
        for case in cases:
            began = time.process_time()
            changed = tuned(networks, plan, case, options.painted, config)
            seconds += time.process_time() - began
            dice.append(dice_of(changed, plan, case, options.painted, data.labels))
        error = (1 - np.mean(dice)) / (1 - before.mean())
        rows.append([text, f"{np.mean(dice):.3f}", f"{min(dice):.3f}", f"{error:.2f}", f"{seconds / len(cases):.1f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    print("\n".join(markdown_table(rows)))


if __name__ == "__main__":
    main()
