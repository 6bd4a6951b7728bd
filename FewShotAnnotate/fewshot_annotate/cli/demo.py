"""`demo`: fill a brain MRI from a few labelled slices and print its Dice."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ..core import paths
from ..core.disk import unwritable_error
from ..core.exit_codes import ExitCode
from ..core.new_folder import new_folder
from ..core.results import write_results
from ..core.text import printable
from ..io.files import require_writable, write_label_maps
from ..io.label_names import sidecar_path
from ..jobs.planning import EngineSettings, FillRequest, plan
from . import demo_case as demo
from .activity_indicator import activity_indicator
from .arguments import add_engine, add_progress
from .consent import add_overwrite, require_free
from .running import run_all

# Time to assemble and to write the label map and the picture, relative to that of reading the three images.
WRITING_PER_READING = 5.0


def add_arguments(show: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    show.set_defaults(command=_demo)
    show.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("demo-output"),
        help="folder to write (default: %(default)s)",
    )
    add_overwrite(show, "what is in DIR")
    add_engine(show)
    add_progress(show)


def _demo(options: argparse.Namespace) -> int:
    from ..core.dice import dice
    from ..guidance.contact_sheet import contact_sheet

    label_path, picture_path = options.output / "label.nii.gz", options.output / "contact-sheet.png"
    paths.require_nameable(options.output)
    require_free(options, label_path, sidecar_path(label_path), picture_path)
    began_reading = time.monotonic()
    with activity_indicator(options.progress, "Reading"):
        volume, truth = demo.read_mni152()
        indices = demo.labelled_slices(truth)
        painted = demo.keep_slices(truth, indices)
        request = FillRequest(
            volume=volume,
            layers=[painted],
            axis=demo.AXIS,
            labelled_slices=indices,
            settings=EngineSettings(options.engine),
        )
        (run,) = plan(request)
    writing_seconds = WRITING_PER_READING * (time.monotonic() - began_reading)
    try:
        with new_folder(options.output):
            require_writable(label_path)
    except OSError as error:
        raise unwritable_error(options.output, error) from None
    began = time.monotonic()
    result = run_all([run], [painted], volume, options.progress, seconds_after=writing_seconds)
    (filled,) = result.layers
    seconds = time.monotonic() - began
    unlabelled = list(run.job.slices)
    summary = sys.stderr if options.progress == "json" else sys.stdout
    print(
        f"MNI152 brain: {len(unlabelled)} slices filled from {len(indices)} labelled ones in {seconds:.1f} s",
        file=summary,
    )
    for segment in demo.SEGMENTS:
        score = dice(
            demo.AXIS.slices(truth.array)[unlabelled], demo.AXIS.slices(filled.array)[unlabelled], segment.value
        )
        print(f"  Dice {segment.name:<14} {score:.3f}  (unlabelled slices only)", file=summary)
    middle = [indices[number] for number in range(2, len(indices) - 2, 3)]
    pictured = [index + step for index in middle for step in (0, 3, 6, 9)]
    write_results(
        [
            (label_path, lambda path: write_label_maps(path, [filled])),
            (
                picture_path,
                lambda path: contact_sheet(path, volume, filled, demo.AXIS, pictured, indices, columns=4),
            ),
        ]
    )
    print(f"{printable(label_path)}\n{printable(picture_path)}", file=summary)
    return ExitCode.DONE
