"""`manifest`: the table of cases for `batch`, from folders of images and label maps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.storage import write_bytes
from ..core.text import printable
from ..datasets.case_folders import find_pairs, manifest_bytes
from ..io.label_names import read_list
from .activity_indicator import activity_indicator
from .arguments import add_progress
from .consent import add_overwrite, require_free
from .labels import add_label_names, print_left_out
from .messages import error_text
from .terminal import case_count


def add_arguments(manifest: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    manifest.set_defaults(command=_manifest)
    manifest.add_argument(
        "images", metavar="IMAGES_DIR", type=Path, help="folder of the images, or of a data set of nnU-Net or MSD"
    )
    manifest.add_argument(
        "label_maps", metavar="LABELS_DIR", type=Path, nargs="?", help="folder of the label maps; may be the same"
    )
    manifest.add_argument("-o", "--output", metavar="MANIFEST.csv", type=Path, required=True, help="table to write")
    add_overwrite(manifest, "MANIFEST.csv")
    manifest.add_argument(
        "--images",
        metavar="PATTERN",
        dest="image_pattern",
        default="*",
        help="only images whose path ends in a match, such as '*_0000.nii.gz' or '*/ct.nii.gz'",
    )
    manifest.add_argument(
        "--supports", metavar="PATTERN", dest="label_pattern", default="*", help="the same for label maps"
    )
    add_label_names(manifest)
    manifest.add_argument(
        "--unlabelled", action="store_true", help="list images without labels too, for batch --task"
    )
    add_progress(manifest)


def _manifest(options: argparse.Namespace) -> int:
    require_free(options, options.output)
    if options.label_names:
        read_list(options.label_names)
    with activity_indicator(options.progress, "Searching"):
        pairing = find_pairs(
            options.images,
            options.label_maps,
            image_pattern=options.image_pattern or "*",
            label_pattern=options.label_pattern or "*",
        )
    for problem in pairing.problems:
        print(f"fewshot-annotate: {printable(error_text(problem, options))}", file=sys.stderr)
    if pairing.problems:
        return ExitCode.BAD_INPUT
    try:
        content, count = manifest_bytes(
            options.output, pairing, unlabelled=options.unlabelled, names=options.label_names
        )
    except InputError as error:
        raise error.with_data(path=options.images) if error.code == "pairs_none" else error from None
    write_bytes(options.output, content)
    if pairing.unlabelled and not options.unlabelled:
        print_left_out("images without labels", [source.relative_path for source in pairing.unlabelled])
    if pairing.unlisted:
        print_left_out(
            "images that dataset.json does not list", [source.relative_path for source in pairing.unlisted]
        )
    if pairing.unused:
        print_left_out("label maps without an image", [source.relative_path for source in pairing.unused])
    print(f"{printable(options.output)}: {case_count(count)}")
    return ExitCode.DONE
