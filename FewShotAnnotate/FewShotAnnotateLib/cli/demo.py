"""`demo`: the main job on a real brain, with its Dice and a picture."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from .. import demo
from ..core import paths
from ..core.errors import InputError
from ..core.files import require_writable, write_label_maps
from ..core.text import shown
from ..run.fill import FillRequest, plan
from .arguments import add_engine, add_progress
from .running import job_place, run_all


def add(verbs: Any) -> None:
    """Add the command to the parser's subcommands."""
    show = verbs.add_parser("demo", help="fill grey and white matter of the MNI152 brain")
    show.set_defaults(command=_demo, job_dir=None, resume=False)
    show.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("demo-output"))
    add_engine(show)
    add_progress(show)


def _demo(options: argparse.Namespace) -> int:
    from ..review.metrics import dice
    from ..review.picture import contact_sheet

    label_path, picture_path = options.output / "label.nii.gz", options.output / "contact-sheet.png"
    paths.require_nameable(options.output)
    volume, truth = demo.read_mni152()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("output_unwritable", path=options.output, detail=error.strerror) from None
    require_writable(label_path)
    indices = demo.labelled_slices(truth)
    painted = demo.keep_slices(truth, indices)
    (run,) = plan(FillRequest(volume, [painted], demo.AXIS, indices, engine=options.engine))
    began = time.monotonic()
    with job_place(None) as place:
        (filled,) = run_all([run], [painted], volume, place, options).layers
    seconds = time.monotonic() - began
    unlabelled = run.support.unlabelled(run.job.slices)
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
    write_label_maps(label_path, [filled])
    middle = [indices[number] for number in range(2, len(indices) - 2, 3)]
    pictured = [index + step for index in middle for step in (0, 3, 6, 9)]
    contact_sheet(picture_path, volume, filled, demo.AXIS, pictured, indices, columns=4)
    print(f"{shown(label_path)}\n{shown(picture_path)}", file=summary)
    return 0
