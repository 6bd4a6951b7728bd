"""What `fill` writes, and what it prints about the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..core.clean_up import CleanUpRule, clean_up_layers
from ..core.events import Warned
from ..core.expected_dice import ExpectedDice
from ..core.job import Job
from ..core.results import Result
from ..core.storage import write_bytes
from ..core.support import Support
from ..core.text import printable
from ..core.volume import Geometry, LabelMap, Volume, names_by_value
from ..engines.pretrained.engine_weights import weights_in_use
from ..evaluation.label_statistics import label_statistics, statistics_csv
from ..export.algorithm import PRODUCT, Algorithm, tagged
from ..guidance.contact_sheet import contact_sheet, least_certain
from ..guidance.poor_dice import poor_labels
from ..guidance.poor_dice_warning import poor_dice_warning
from ..io.files import write_array, write_label_maps
from ..jobs.layers import FilledLayers
from ..jobs.planning import PlannedRun

# Names are aligned up to this width.
MAX_NAME_WIDTH = 30
# Up to this number, labels with a low expected Dice have a line each; more of them share one line.
MAX_WARNINGS = 5


@dataclass(frozen=True, kw_only=True)
class FilledVolume:
    """Labels of a filled volume, cleaned up and marked with the engine that made them.

    Attributes
    ----------
    job : Job
    support : Support
    labels : list of LabelMap
    confidence : float32 ndarray [k, j, i]
    expected_dice : list of (str, ExpectedDice)
        Segment name and expected Dice.
    """

    job: Job
    support: Support
    labels: list[LabelMap]
    confidence: np.ndarray
    expected_dice: list[tuple[str, ExpectedDice]]

    @classmethod
    def of(
        cls, run: PlannedRun, labels: Sequence[LabelMap], result: FilledLayers, clean_ups: Sequence[CleanUpRule]
    ) -> FilledVolume:
        """Clean up the filled labels and mark them with the engine of the run."""
        job = run.job
        labels, confidence = clean_up_layers(labels, result.confidence, clean_ups, run.support, job.slices)
        algorithm = Algorithm(f"{PRODUCT} {job.engine}", __version__, weights_in_use(job.engine, job.options))
        return cls(
            job=job,
            support=run.support,
            labels=tagged(labels, algorithm),
            confidence=confidence,
            expected_dice=result.expected_dice,
        )

    def results(self, options: argparse.Namespace, volume: Volume) -> list[Result]:
        """The files to be written: labels, and as asked for confidence, picture of slices and statistics."""
        axis, filled = self.support.axis, self.job.slices
        results: list[Result] = [(options.output, lambda path: write_label_maps(path, self.labels))]
        if options.confidence:
            results.append((options.confidence, lambda path: write_array(path, self.confidence, volume.geometry)))
        if options.preview:
            shown, labels = least_certain(self.labels[0].array, self.confidence, axis, filled), self.labels[0]
            painted = self.support.indices
            results.append((options.preview, lambda path: contact_sheet(path, volume, labels, axis, shown, painted)))
        if options.statistics:
            rows = label_statistics(self.labels, dict(self.expected_dice), axis, filled)
            results.append((options.statistics, lambda path: write_bytes(path, statistics_csv(rows))))
        return results

    def print_summary(self, output: Path, geometry: Geometry, seconds: float) -> None:
        """Print how many slices were filled, and the expected Dice of each segment."""
        print(
            f"{printable(output)}: {len(self.job.slices)} slices filled, {len(self.support.indices)} were labelled "
            f"({self.support.axis.describe(geometry)}, engine {self.job.engine}) in {seconds:.1f} s"
        )
        width = min(max((len(printable(name)) for name, _ in self.expected_dice), default=0), MAX_NAME_WIDTH)
        for name, dice in self.expected_dice:
            likely = f"90 % interval {dice.low:.3f} to {dice.high:.3f}"
            print(f"  Expected Dice {printable(name):<{width}} {dice.dice:.3f}  ({likely})")


def warn_of_poor(runs: Sequence[PlannedRun], result: FilledLayers, as_events: bool) -> None:
    """Print which labels have a low expected Dice, and which slice to label next; events name no segment."""
    dice_by_name = dict(result.expected_dice)
    for run, layer in zip(runs, result.layers, strict=False):
        axis, names = run.support.axis, names_by_value(layer.segments)
        expected = [replace(dice_by_name[name], label=value) for value, name in names.items() if name in dice_by_name]
        labels, confidence = axis.slices(layer.array), axis.slices(result.confidence)
        poor = poor_labels(run.support, expected, labels, confidence, run.job.slices)
        if as_events:
            for label in poor:
                print(Warned.of(label.message(f"label {label.label}")).to_line())
        elif len(poor) > MAX_WARNINGS:
            print(f"  {poor_dice_warning(poor, names)}")
        else:
            for label in poor:
                print(f"  {label.message(printable(names[label.label]))}")
