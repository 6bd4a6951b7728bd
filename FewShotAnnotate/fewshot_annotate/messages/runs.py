"""Sentences about engines, their options and published weights, about runs and suggestions."""

from __future__ import annotations

RUNS = {
    "channel_elsewhere": "{path}: it lies beside the volume and covers none of it; give a volume of the same patient "
    "in the same position.",
    "channel_covers_part": "Volume {number} covers {percent} % of the volume to fill; elsewhere its lowest intensity "
    "is used.",
    "channels_unsupported": "Engine {engine} works on one volume; give no others, or choose one of: {known}.",
    "channels_ignored": "Engine {engine} works on one volume; it was given the first one alone.",
    "argument_type": "Argument {argument} is of type {found}; give {expected}.",
    "argument_path_empty": "Argument {argument} is an empty path; give the path of a file or folder.",
    "slices_malformed": "'{text}' is not a list of slice numbers, which count from 0; write for example 3,10,20.",
    "sizes_malformed": "'{text}' is not a list of support sizes, which are numbers of labelled slices; write for "
    "example 1,2,4.",
    "slice_range_invalid": "'{text}' is not a slice range; give 'between', 'all', or the first slice and the last "
    "plus 1, for example (5, 40).",
    "no_labelled_slice": "{path}: no slice is labelled; paint at least two slices first.",
    "one_labelled_slice": "{path}: only slice {index} is labelled, and nothing lies between; label one more "
    "slice, or ask for all slices.",
    "nothing_to_fill": "{path}: every slice of axis {axis} in the chosen range is labelled; ask for other slices, "
    "or for the axis that was painted along.",
    "suggest_unseen_between": "Between slices {first} and {last} no slice is labelled: there may be structures "
    "that no labelled slice shows.",
    "suggest_unseen_after": "After slice {labelled} no slice is labelled: there may be structures that no "
    "labelled slice shows.",
    "suggest_unseen_before": "Before slice {labelled} no slice is labelled: there may be structures that no "
    "labelled slice shows.",
    "suggest_label_reaches_only": "{names} reaches slice {labelled}, the only labelled one: where it ends is "
    "unknown.",
    "suggest_labels_reach_only": "{names} reach slice {labelled}, the only labelled one: where they end is unknown.",
    "suggest_label_reaches_last": "{names} reaches slice {labelled}, the last labelled one: where it ends is "
    "unknown.",
    "suggest_labels_reach_last": "{names} reach slice {labelled}, the last labelled one: where they end is unknown.",
    "suggest_label_reaches_first": "{names} reaches slice {labelled}, the first labelled one: where it ends is "
    "unknown.",
    "suggest_labels_reach_first": "{names} reach slice {labelled}, the first labelled one: where they end is "
    "unknown.",
    "suggest_label_ends": "Between slices {first} and {last} {names} begins or ends.",
    "suggest_labels_end": "Between slices {first} and {last} {names} begin or end.",
    "suggest_label_uncertain": "Between slices {first} and {last} {names} is least certain.",
    "suggest_labels_uncertain": "Between slices {first} and {last} {names} are least certain.",
    "names_and_last": "{names} and {last}",
    "poor_dice": "Check every slice of {segment}: its expected Dice is only {dice}.",
    "poor_dice_and_slice": "Check every slice of {segment}: its expected Dice is only {dice}. Labelling slice "
    "{slice} helps most.",
    "poor_dice_several": "The expected Dice of {count} labels is low ({segments}): check every slice.",
    "poor_dice_several_and_slice": "The expected Dice of {count} labels is low ({segments}): check every slice. "
    "Labelling slice {slice} helps {segment} most.",
    "engine_unknown": "There is no engine named '{engine}'; choose one of: {known}.",
    "engine_unavailable": "Engine {engine} cannot run here: {detail}",
    "needs_package": "it needs the Python package {package}: {install}",
    "needs_packages": "it needs the Python packages {packages}: {install}",
    "needs_newer_torch": "it needs torch {least} or newer, not {installed}: {install}",
    "needs_weights": "it needs weights ({weights}); download them first",
    "device_unknown": "There is no device '{device}'; choose one of: {known}.",
    "device_unavailable": "Engine {engine} cannot use device '{device}'; choose one of: {known}.",
    "option_unknown": "Engine {engine} has no option '{option}'; it has: {known}.",
    "budget_invalid": "'{budget}' is no time limit; give the seconds, more than 0, for example 60.",
    "option_invalid": "Option {option} of engine {engine} cannot be {value!r}; {expected}.",
    "job_folder_used": "{path}: it is there already and is not an empty folder; choose a new one, or continue "
    "its job.",
    "job_folder_unreadable": "{path}: the job cannot be read ({detail}); start a new one.",
    "job_differs": "{path}: the job in this folder was started with another {what}; give the same input or a new "
    "folder.",
    "job_busy": "{path}: another worker is still running on this job; wait for it or stop it first.",
    "run_memory_short": "There is not enough memory for this engine on this volume; close other programs, choose "
    "another engine, or crop the volume.",
    "run_folder_failed": "The run folder cannot be read or written ({detail}); free some room or choose another.",
    "worker_failed": "An unexpected error ended the run ({kind}, code {number}); please report it with what is in "
    "worker.log.",
    "worker_absent": "The worker process did not start; try again.",
    "worker_not_started": "The worker process could not be started ({detail}): {program}",
    "worker_other_version": "The worker has version {found}, this program {expected}; restart the application so "
    "that both are the same.",
    "worker_other_copy": "Another copy of the worker started ({path}); remove the second installation.",
    "worker_cannot_write": "The worker process could not write to the run folder, often because the disk is full; "
    "{advice}.",
    "worker_killed": "The worker process was ended from outside, often because memory ran out; {advice}.",
    "worker_crashed": "The worker process crashed (signal {number}); {advice}.",
    "worker_exited": "The worker process ended unexpectedly (code {number}{line}); {advice}.",
    "worker_line_passed_over": "The worker wrote a line that is no event; it was ignored.",
    "run_can_be_resumed": "finished slices are kept and the job can be resumed",
    "suggestion_can_be_repeated": "look for a slice again",
    "time_limit_over": "The time limit of {seconds:g} s is over; the run goes on to its last slice.",
    "computes_on_processor": "Engine {engine} computes on the processor: {reason}.",
    "gpu_of_apple": "an Apple GPU is used only when asked for; choose device mps to try it",
    "gpu_not_in_build": "the installed torch is built for processors only; install a build with CUDA if there is an "
    "NVIDIA GPU",
    "gpu_not_found": "torch finds no NVIDIA GPU it can use; check the driver with nvidia-smi if there is one",
    "fewer_examples": "Engine {engine} now shows {count} labelled slices at a time, because memory is short.",
    "segments_nameless": "{count} of {total} segments have no name in words; their boxes are propagated from the "
    "labelled slices alone.",
    "engine_results_missing": "Engine {engine} gave no result for {count} slices; choose another engine.",
    "memory_short": "There is not enough memory on device {device} for engine {engine}; close other programs, "
    "choose device cpu, or crop the volume.",
    "clean_up_label": "There is no label '{label}' to clean up; there are: {known}.",
    "labels_several": "The segments overlap and lie in several layers; take each from `layers`.",
    "package_broken": "The package {package} does not load ({detail}); install the one that was made for the "
    "installed torch.",
    "licence_not_accepted": "The licence of the weights '{name}' restricts their use ({licence}); read "
    "it and agree to it first.",
    "download_failed": "{url}: cannot be downloaded ({detail}); try again, it continues where it stopped.",
    "download_wrong": "{url}: gave something else than '{name}', which was deleted: {detail}",
    "download_busy": "The weights '{name}' are just being downloaded by another program; wait for it.",
    "import_wrong": "{path}: was not imported as '{name}': {detail}",
    "weights_unknown": "There is no checkpoint named '{name}'; choose one of: {known}.",
    "weights_missing": "Weights '{name}' are not installed; download them first.",
    "weights_unrecorded": "{path}: it is not known where this file came from; download '{name}' again.",
    "weights_size": "{path}: this is not '{name}' as published ({found} bytes instead of {expected}); download it "
    "again.",
    "weights_differ": "{path}: this is not '{name}' as published or first seen (its {algorithm} differs); remove "
    "it and download it again.",
    "weights_differ_first": "{path}: this is not '{name}' as first seen here (its {algorithm} differs); remove "
    "the file and download it again.",
    "installation_damaged": "{path} is missing or damaged; install FewShotAnnotate again.",
    "weights_damaged": "{path}: the weights cannot be read ({detail}); download the file again.",
    "weights_code": "{path}: the file holds more than tensors and could run code; it was not loaded. Download it "
    "from its publisher.",
    "weights_bomb": "{path}: the file would unpack to more than its own size; it was not loaded. Download it from "
    "its publisher.",
    "weights_escape": "{path}: the archive names files outside itself; it was not loaded. Download it from its "
    "publisher.",
    "weights_no_state": "{path}: the file holds no weights by name; download it from its publisher.",
    "weights_architecture": "{path}: these weights belong to another model ({detail}); download the right file.",
}
