"""Sentences of errors for the command line, which name the options and commands that resolve them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from ..core.errors import InputError, Message
from ..core.text import printable
from ..messages import SENTENCES, UNKNOWN, sentence

# Errors of a row of a table, caused by another error: the row has columns instead of options.
_OF_A_TABLE = ("case_row", "volume_unusable")
_AXIS_ERRORS = ("axis_unclear", "plane_oblique")
# Beside the sentences that hold for every user of the package.
OWN_SENTENCES = {
    "needs_weights": "it needs weights ({weights}): fewshot-annotate models download {names}",
    "one_labelled_slice": "{path}: only slice {index} is labelled, and nothing lies between; label one more "
    "slice, or ask for all slices (--slices all).",
    "job_folder_used": "{path}: it is there already and is not an empty folder; choose a new one, or continue "
    "its job (--resume).",
    "case_overlaps": "{path}: the segments overlap and label.nii.gz keeps one label per voxel; fill this volume "
    "by itself into a .seg.nrrd (fewshot-annotate fill).",
    "pair_images": "{path}: several images fit these labels ({images}); choose one by a pattern (--images).",
    "pair_labels": "{path}: several label maps fit this image ({labels}); choose one by a pattern (--supports).",
    "pairs_none": "{path}: no image with labels of a fitting name was found; name both alike; "
    "--unlabelled lists images without labels.",
    "current_folder_closed": "The current folder cannot be used ({detail}); change to another one first (cd).",
    "batch_in_slicer": "A batch starts processes, which cannot be done in Slicer's Python console; run it in a "
    "terminal, with PythonSlicer for example.",
    "batch_folder_used": "{path}: it holds a batch already; choose a new folder, or continue that one (--resume).",
    "removal_unconfirmed": "{what} was not removed; confirm with --yes.",
    "outputs_same": "{path}: {option} and {other} name the same file; choose another name for one of them.",
    "output_exists": "{path}: it is there already; choose another name, or replace it (--overwrite).",
    "library_file_there": "{path}: it is there already; choose another name, or replace it (--overwrite).",
    "library_taken": "There is a task '{name}' already; choose another name, or add to it (fewshot-annotate "
    "task add).",
    "licence_not_accepted": "The licence of the weights '{name}' restricts their use ({licence}); read it "
    "(fewshot-annotate models info {name}) and agree with --accept-licence.",
    "download_failed": "{url}: cannot be downloaded ({detail}); try again, it continues where it stopped, or "
    "import a file: fewshot-annotate models import {name} FILE.",
    "weights_missing": "Weights '{name}' are not installed; download them with: fewshot-annotate models download "
    "{name} (or import a file: fewshot-annotate models import {name} FILE).",
    "model_unknown": "No engine and no weights are named '{name}'; see their names (fewshot-annotate models list).",
    "engine_without_weights": "Engine {engine} needs no weights.",
    "weights_unrecorded": "{path}: it is not known where this file came from; import it with: fewshot-annotate "
    "models import {name} FILE.",
    "weights_differ_first": "{path}: this is not '{name}' as first seen here (its {algorithm} differs). If its "
    "publisher replaced it, delete the recorded checksum (fewshot-annotate models remove {name} --forget) and "
    "download it again.",
    "comparison_folder_used": "{path}: it is there already and is not an empty folder; choose a new one, or "
    "continue its comparison (--resume).",
    "engine_not_compared": "Engine {engine} is given an option but is not compared; compared are: {compared}.",
    "compare_inputs": "Give IMAGE and SUPPORT, or --study MANIFEST.csv, whose rows name image, label and axis.",
    "range_malformed": "'{text}' is not a slice range; write between, all, or FIRST:LAST+1, for example 5:40.",
    "one_file_dicom": "A DICOM segmentation holds all segments in one file; leave out --one-file-per-segment.",
    "derive_needs_image": "--derive-series writes the images as DICOM; name them with --image.",
    "resume_needs_folder": "--resume continues a kept job; say which one with --job-dir.",
    "confidence_no_labels": "{path}: a confidence is no segmentation; use a name that ends in .nii.gz or .nrrd.",
    "task_folder_none": "{path}: this is not the folder of a task; check its name, or create it: fewshot-annotate "
    "task create {path}.",
    "dataset_bids_suffix": "BIDS needs to know the kind of image, and '{suffix}' is none; give one (--suffix): "
    "{known}.",
    "dataset_suffix": "--suffix is the kind of images in BIDS; leave it out with --format {format}.",
    "dataset_share": "'{text}' is no share of the patients; give a number from 0 to 0.9.",
    "channels_unsupported": "Engine {engine} works on one volume; leave out the others (--also, column also), or "
    "choose one of: {known}.",
    "support_missing": "Give SUPPORT, a label map with some labelled slices, or a trained task (--task).",
    "task_overlaps": "{path}: the segments overlap and a task keeps one label per voxel; make a task for each.",
    "task_sparsely_labelled": "{path}: labels lie on slices {slices} and not between them; if only these were "
    "labelled, name them (--labelled-slices {slices}), else say --whole.",
    "task_without_examples": "Task '{name}' has no labelled examples; add some: fewshot-annotate task add {name} "
    "IMAGE LABELS.",
    "task_no_segments": "{path}: no segment is named there; give the name of each label value, from 1.",
    "task_example_damaged": "Example {number} of task '{name}' is damaged; remove it (fewshot-annotate task remove "
    "{name} --example {number}), and add its image and labels again.",
    "task_file_is_folder": "{path}: this is a folder; give the .zip file that fewshot-annotate task export writes.",
    "task_untrained": "Task '{name}' has no trained model; train it: fewshot-annotate task train {name}.",
    "library_overlaps": "{path}: the segments overlap and a task keeps one label per pixel; save them as "
    "tasks of their own.",
    "clean_up_malformed": "'{text}' is no clean-up; write STEPS or LABEL=STEPS with smooth, smooth:MM, largest or "
    "holes (--clean-up), for example liver=largest,holes.",
    "option_malformed": "'{text}' sets no option; write NAME=VALUE.",
    "scheduler_lost": "The dask scheduler no longer answers; start it again and continue with --resume.",
    "engine_malformed": "'{text}' is no engine with its version; write NAME or NAME:VERSION, 40 characters at most.",
    "engine_option_malformed": "'{text}' sets no engine's option; write ENGINE.NAME=VALUE.",
}


def error_text(error: Message | str, options: argparse.Namespace | None = None) -> str:
    """One line about an error or a warning, with the option that helps, if the command has one.

    Parameters
    ----------
    error : Message or str
        A sentence, such as one of version 0.1, stays as it is.
    options : argparse.Namespace, optional
        Those of the command.
    """
    hint = _hint(error, options) if options is not None and isinstance(error, Message) else ""
    return sentence(error, SENTENCES | OWN_SENTENCES, UNKNOWN) + hint


def _hint(error: Message, options: argparse.Namespace) -> str:
    """Option that resolves an error, as ' (--option)'; empty if there is none."""
    from ..io.dicom.series_choice import SERIES_ERRORS  # here, so that commands without a volume start sooner

    cause = error.data.get("detail")
    if error.code in _OF_A_TABLE and isinstance(cause, Message):
        column = "series" if cause.code in SERIES_ERRORS else "axis" if cause.code in _AXIS_ERRORS else ""
        return f" (column {column})" if column else _consent_option(cause, options)
    if error.code in _AXIS_ERRORS:
        return " (--axis)"
    return " (--series)" if error.code in SERIES_ERRORS else _consent_option(error, options)


def _consent_option(error: Message, options: argparse.Namespace) -> str:
    from ..core.regrid import REMEDIES

    consent = REMEDIES.get(error.code)
    return f" (--{consent.value})" if consent and hasattr(options, consent.value) else ""


def print_refused(cases: Iterable[tuple[str, InputError]], options: argparse.Namespace) -> None:
    """Print why each of some cases, given by name, cannot be used."""
    for name, error in cases:
        print(f"fewshot-annotate: {printable(name)}: {error_text(error, options)}", file=sys.stderr)
