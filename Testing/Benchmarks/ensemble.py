"""Error of the ensemble of a specialist relative to that of its networks, on patients that none was trained on.

The expected Dice of a specialist is that of its networks on the patients that were held out from each, so it depends
on this ratio, see `dice_model`. The models are folders that `many.py --models` keeps, named by set and cases.

    python Testing/Benchmarks/ensemble.py FOLDER/mr_hippocampus-5-1-300 ... [--patients 12]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
import torch
from fewshot_annotate.engines.specialist.dice_model import error_ratio
from fewshot_annotate.engines.specialist.inference import predict_volume
from fewshot_annotate.engines.specialist.model_file import load_members, read_description
from fewshot_annotate.engines.specialist.network import SpecialistUNet
from fewshot_annotate.engines.specialist.plan import SpecialistPlan
from fewshot_annotate.engines.specialist.prediction import NativeSlices
from fewshot_annotate.engines.specialist.preparation import WorkingGrid, normalised
from patients import PatientSet, load, mean_dice
from report import markdown_table


def error(networks: Sequence[SpecialistUNet], plan: SpecialistPlan, case: Path, labels: int) -> float:
    """1 - Dice of networks on one patient."""
    volume, truth = load(case)
    grid = WorkingGrid.of(volume.geometry, plan)
    image = normalised(grid.image(volume.array), plan)
    slices = NativeSlices(predict_volume(networks, plan, image, torch.device("cpu")), grid)
    filled = np.stack([slices.read(0, index).argmax(axis=0) for index in range(len(truth))])
    return 1 - mean_dice(filled, truth, labels)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--patients", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [["model", "networks", "Dice of one", "of the ensemble", "ratio of errors", "assumed"]]
    for model in options.models:
        data = PatientSet.find(model.name.split("-")[0])
        description = read_description(model)
        members = load_members(model, description)
        groups = [[member] for member in members] + [members]
        cases = data.unseen[: options.patients]
        errors = [np.mean([error(group, description.plan, case, data.labels) for case in cases]) for group in groups]
        single, ensemble = float(np.mean(errors[:-1])), float(errors[-1])
        assumed = error_ratio(len(members)) if len(members) > 1 else 1.0
        dice = [f"{1 - single:.3f}", f"{1 - ensemble:.3f}"]
        rows.append([model.name, str(len(members)), *dice, f"{ensemble / single:.3f}", f"{assumed:.3f}"])
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(markdown_table(rows)))


if __name__ == "__main__":
    main()
