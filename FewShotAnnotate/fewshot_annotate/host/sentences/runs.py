"""Sentences about engines, weights, runs and their workers."""

from __future__ import annotations

from collections.abc import Mapping

from ..i18n import tr as _


def runs_sentences() -> Mapping[str, str]:
    """Code -> sentence, in the language of the application."""
    return {
        "argument_type": _("Argument {argument} is of type {found}; give {expected}."),
        "argument_path_empty": _("Argument {argument} is an empty path; give the path of a file or folder."),
        "slices_malformed": _(
            "'{text}' is not a list of slice numbers, which count from 0; write for example 3,10,20."
        ),
        "sizes_malformed": _(
            "'{text}' is not a list of support sizes, which are numbers of labelled slices; write for example 1,2,4."
        ),
        "slice_range_invalid": _("'{text}' is not a slice range; its first slice must come before its end."),
        "no_labelled_slice": _("{path}: no slice is labelled; paint at least two slices first."),
        "one_labelled_slice": _(
            "Only slice {index} is painted, and nothing lies between; paint one more slice, or choose to fill "
            "all slices."
        ),
        "nothing_to_fill": _(
            "{path}: every slice of axis {axis} in the chosen range is labelled; ask for other slices, or for the "
            "axis that was painted along."
        ),
        "channel_elsewhere": _(
            "{path}: it lies beside the volume and covers none of it; choose a volume of the same patient in the "
            "same position."
        ),
        "channel_covers_part": _(
            "Volume {number} covers {percent} % of the volume to fill; elsewhere its lowest intensity is used."
        ),
        "channels_unsupported": _(
            "Engine {engine} works on one volume; untick the further volumes, or choose one of: {known}."
        ),
        "channels_ignored": _("Engine {engine} works on one volume; it was given the first one alone."),
        "live_segments_changed": _(
            "Segments overlap, or were added or removed: the update while painting ended and nothing was changed."
        ),
        "live_choice_changed": _(
            "Another volume, segmentation or axis was chosen: the update while painting ended and nothing was "
            "changed."
        ),
        "live_slice_unlabelled": _(
            "Slice {index} is not labelled any more: the update while painting ended and nothing was changed."
        ),
        "run_memory_short": _(
            "There is not enough memory for this engine on this volume; close other programs, choose another "
            "engine, or crop the volume."
        ),
        "run_folder_failed": _(
            "The folder of the run cannot be read or written ({detail}); free some room, or choose another data "
            "folder in the settings."
        ),
        "worker_failed": _(
            "An unexpected error ended the run ({kind}, code {number}); please report it with Copy details in "
            "the settings."
        ),
        "worker_absent": _("The worker process did not start; try again."),
        "worker_not_started": _("The worker process could not be started ({detail}): {program}"),
        "worker_other_version": _(
            "The worker has version {found}, this panel {expected}; restart Slicer so that both are the same."
        ),
        "worker_other_copy": _("Another copy of the worker started ({path}); remove the second installation."),
        "worker_cannot_write": _(
            "The worker process could not write to the folder of the run, often because the disk is full; {advice}."
        ),
        "worker_killed": _("The worker process was ended from outside, often because memory ran out; {advice}."),
        "worker_crashed": _("The worker process crashed (signal {number}); {advice}."),
        "worker_exited": _("The worker process ended unexpectedly (code {number}{line}); {advice}."),
        "worker_line_passed_over": _("The worker wrote a line that is no event; it was ignored."),
        "run_can_be_resumed": _("finished slices are kept; press Resume to go on"),
        "suggestion_can_be_repeated": _("press Suggest next slice again"),
        "time_limit_over": _("The time limit of {seconds:g} s is over; the run goes on to its last slice."),
        "computes_on_processor": _("Engine {engine} computes on the processor: {reason}."),
        "gpu_of_apple": _("an Apple GPU is used only when asked for; choose device mps in the settings to try it"),
        "gpu_not_in_build": _(
            "the installed torch is built for processors only; install a build with CUDA if there is an NVIDIA GPU"
        ),
        "gpu_not_found": _("torch finds no NVIDIA GPU it can use; check the driver with nvidia-smi if there is one"),
        "fewer_examples": _("Engine {engine} now shows {count} labelled slices at a time, because memory is short."),
        "segments_nameless": _(
            "{count} of {total} segments have no name in words; their boxes are propagated from the labelled slices "
            "alone."
        ),
        "engine_results_missing": _("Engine {engine} gave no result for {count} slices; choose another engine."),
        "suggest_unseen_between": _(
            "Between slices {first} and {last} no slice is labelled: there may be structures that no labelled "
            "slice shows."
        ),
        "suggest_unseen_after": _(
            "After slice {labelled} no slice is labelled: there may be structures that no labelled slice shows."
        ),
        "suggest_unseen_before": _(
            "Before slice {labelled} no slice is labelled: there may be structures that no labelled slice shows."
        ),
        "suggest_label_reaches_only": _(
            "{names} reaches slice {labelled}, the only labelled one: where it ends is unknown."
        ),
        "suggest_labels_reach_only": _(
            "{names} reach slice {labelled}, the only labelled one: where they end is unknown."
        ),
        "suggest_label_reaches_last": _(
            "{names} reaches slice {labelled}, the last labelled one: where it ends is unknown."
        ),
        "suggest_labels_reach_last": _(
            "{names} reach slice {labelled}, the last labelled one: where they end is unknown."
        ),
        "suggest_label_reaches_first": _(
            "{names} reaches slice {labelled}, the first labelled one: where it ends is unknown."
        ),
        "suggest_labels_reach_first": _(
            "{names} reach slice {labelled}, the first labelled one: where they end is unknown."
        ),
        "suggest_label_ends": _("Between slices {first} and {last} {names} begins or ends."),
        "suggest_labels_end": _("Between slices {first} and {last} {names} begin or end."),
        "suggest_label_uncertain": _("Between slices {first} and {last} {names} is least certain."),
        "suggest_labels_uncertain": _("Between slices {first} and {last} {names} are least certain."),
        "names_and_last": _("{names} and {last}"),
        "engine_unknown": _("There is no engine named '{engine}'; choose one of: {known}."),
        "engine_unavailable": _("Engine {engine} cannot run here: {detail}"),
        "engine_for_data_sets": _(
            "it fills the cases of a data set, with the model of its task; see the section Data set"
        ),
        "needs_package": _("it needs the Python package {package}; choose it and press Fill to install that"),
        "needs_packages": _("it needs the Python packages {packages}; choose it and press Fill to install them"),
        "model_missing": _("{path}: there is no trained model in it; train the task first."),
        "model_damaged": _("{path}: the trained model cannot be read ({detail}); train the task again."),
        "model_labels_differ": _(
            "{path}: the model was trained on {found} segments and the task has {wanted}; train the task again."
        ),
        "model_not_given": _(
            "Engine {engine} needs a task with a trained model; choose another engine, or use the section Data set."
        ),
        "training_other_budget": _(
            "The interrupted training had a time limit of {earlier:g} s; with {seconds:g} s training begins anew."
        ),
        "training_no_examples": _("The task has no labelled examples; add some before training."),
        "training_grids_differ": _("Example {number}: image and labels differ in size; add the example again."),
        "training_label_unknown": _(
            "Example {number}: it holds label {label}, and the task has "
            "{labels} segments; correct the labels or the task."
        ),
        "training_label_missing": _(
            "Segment {label} of the task is on no labelled slice of any "
            "example; add an example that shows it, or remove the segment."
        ),
        "needs_newer_torch": _("it needs torch {least} or newer, not {installed}; update the extension PyTorch"),
        "needs_weights": _("it needs weights ({weights}); choose it and press Fill to download them"),
        "device_unknown": _("There is no device '{device}'; choose one of: {known}."),
        "device_unavailable": _("Engine {engine} cannot use device '{device}'; choose one of: {known}."),
        "option_unknown": _("Engine {engine} has no option '{option}'; it has: {known}."),
        "budget_invalid": _("'{budget}' is no time limit; give the seconds, more than 0, for example 60."),
        "option_invalid": _("Option {option} of engine {engine} cannot be {value!r}; {expected}."),
        "job_folder_used": _(
            "{path}: it is there already and is not an empty folder; choose a new one, or continue its job."
        ),
        "job_differs": _(
            "{path}: the job in this folder was started with another {what}; give the same input or a new folder."
        ),
        "memory_short": _(
            "There is not enough memory on device {device} for engine {engine}; close other programs, choose "
            "device cpu, or crop the volume."
        ),
        "licence_not_accepted": _(
            "The licence of the weights '{name}' restricts their use ({licence}); read it and agree to it first."
        ),
        "download_failed": _("{url}: cannot be downloaded ({detail}); try again, it goes on where it broke off."),
        "download_wrong": _("{url}: gave something else than '{name}', which was deleted: {detail}"),
        "download_busy": _("The weights '{name}' are just being downloaded by another program; wait for it."),
        "import_wrong": _("{path}: was not imported as '{name}': {detail}"),
        "weights_unknown": _("There is no checkpoint named '{name}'; choose one of: {known}."),
        "weights_missing": _("The weights '{name}' are not on this computer; press Fill to download them."),
        "weights_unrecorded": _("{path}: it is not known where this file came from; download '{name}' again."),
        "weights_size": _(
            "{path}: this is not '{name}' as published ({found} bytes instead of {expected}); download it again."
        ),
        "weights_differ": _(
            "{path}: this is not '{name}' as published or first seen (its {algorithm} differs); remove it and "
            "download it again."
        ),
        "weights_differ_first": _(
            "{path}: this is not '{name}' as first seen here (its {algorithm} differs); remove the file and "
            "download it again."
        ),
        "installation_damaged": _("{path} is missing or damaged; install FewShotAnnotate again."),
        "weights_damaged": _("{path}: the weights cannot be read ({detail}); download the file again."),
        "weights_code": _(
            "{path}: the file holds more than tensors and could run code; it was not loaded. Download it from its "
            "publisher."
        ),
        "weights_bomb": _(
            "{path}: the file would unpack to more than its own size; it was not loaded. Download it from its "
            "publisher."
        ),
        "weights_escape": _(
            "{path}: the archive names files outside itself; it was not loaded. Download it from its publisher."
        ),
        "weights_no_state": _("{path}: the file holds no weights by name; download it from its publisher."),
        "weights_architecture": _(
            "{path}: these weights belong to another model ({detail}); download the right file."
        ),
        "labels_several": _("The segments overlap and lie in several layers; take each from `layers`."),
        "export_differs": _("{path}: what was read back differs from what was written ({detail}); nothing was kept."),
        "package_broken": _(
            "The package {package} does not load ({detail}); install the one that was made for the installed torch."
        ),
    }
