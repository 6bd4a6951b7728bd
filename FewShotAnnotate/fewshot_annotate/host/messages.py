"""What errors, warnings and states are called in the panel, in the language of the application.

Every text is a literal inside `_()`, so that Slicer's extractor finds it; what varies is filled in afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..core.errors import InputError, Message
from ..messages import sentence
from .i18n import tr as _

# Why something cannot be done now; None if it can.
Refusal = InputError | None


def error_text(error: Message | str) -> str:
    """One line about an error or a warning; a sentence of version 0.1 stays as it is."""
    return sentence(error, sentences(), _("This cannot be done (code {code}); please report it."))


def refusal_text(refusal: Refusal) -> str:
    """One line about a refusal, empty if there is none."""
    return error_text(refusal) if refusal is not None else ""


@cache
def sentences() -> Mapping[str, str]:
    """Code -> sentence. Translated when the first one is needed, as one translation takes tens of microseconds."""
    return {
        "file_missing": _("{path}: no such file or folder; check the name."),
        "file_unreadable": _("{path}: cannot be read as an image ({detail}); check that the file is complete."),
        "file_is_folder": _("{path}: this is a folder; give one image file."),
        "file_not_regular": _("{path}: this is a pipe or a device; give a file."),
        "path_unreachable": _("{path}: cannot be reached ({detail}); check the name and the rights to its folder."),
        "file_empty": _("{path}: the file is empty; export or copy it again."),
        "file_truncated": _("{path}: the file ends too early ({detail}); export or copy it again."),
        "image_too_large": _(
            "{path}: the image needs more memory than this computer has; crop it or make it coarser."
        ),
        "geometry_impossible": _(
            "{path}: the header gives no spacing, position and directions that can be; write the file again with "
            "the program that made it."
        ),
        "partner_missing": _("{path}: the file {partner}, which holds its voxels, is not beside it; copy it there."),
        "nibabel_missing": _(
            "{path}: reading FreeSurfer's format needs the Python package nibabel; convert the file with: "
            "mri_convert IN.mgz OUT.nii.gz."
        ),
        "axis_too_long": _(
            "An axis is longer than the {most} voxels that NIfTI can hold; use a name that ends in .nrrd."
        ),
        "suffix_unknown": _("{path}: unknown file type; use a name that ends in {allowed}."),
        "no_series": _("{path}: there is no DICOM image series in it; choose the folder with the slices."),
        "many_series": _(
            "{path}: the folder holds {count} DICOM series: {known}; choose one by its number or by the name of "
            "one of its files, or give a folder with one."
        ),
        "series_uneven": _(
            "{path}: the DICOM slices are not evenly spaced (gaps from {least:.3f} to {most:.3f} mm); find the "
            "missing or doubled slices."
        ),
        "series_tilted": _(
            "{path}: the DICOM slices are shifted against each other (gantry tilt {angle:.1f} degrees); resample "
            "the series onto an upright grid first."
        ),
        "series_mixed": _(
            "{path}: the slices of the series do not lie in parallel ({count} others, such as {first}); move "
            "them, a localizer perhaps, to another folder."
        ),
        "series_doubled": _("{path}: {first} and {second} lie at the same place; keep one slice for each place."),
        "sidecar_unreadable": _("{path}: the list of label names cannot be read; correct it or move it away."),
        "not_3d": _("{path}: the image has {dimension} dimensions; give one 3D volume."),
        "not_scalar": _("{path}: the image has {components} values per voxel; give a single-channel volume."),
        "volume_nan": _("{path}: {count} voxels are not finite numbers; replace them before labelling."),
        "volume_constant": _("{path}: every voxel has the same value ({value:g}); this is no image to label."),
        "label_not_integer": _(
            "{path}: label values must be whole numbers, found {value:g}; save it as a label map."
        ),
        "label_out_of_range": _("{path}: label value {value} is outside 0..65535; renumber the labels."),
        "axis_out_of_range": _(
            "Axis {axis} does not exist; choose 0, 1 or 2 (array order: slices, rows, columns), or axial, coronal "
            "or sagittal."
        ),
        "axis_unclear": _(
            "{path}: the labels do not show along which axis slices were painted; choose one of {planes}."
        ),
        "plane_oblique": _(
            "The volume is tilted too far to tell which of its axes has {plane} slices; choose axis 0, 1 or 2 "
            "(array order: slices, rows, columns)."
        ),
        "slice_out_of_range": _("Slice {index} does not exist along axis {axis}; slices run from 0 to {last}."),
        "slices_malformed": _("'{text}' is not a list of slice numbers; write for example 3,10,20."),
        "no_labelled_slice": _("{path}: no slice is labelled; paint at least two slices first."),
        "one_labelled_slice": _(
            "Only slice {index} is painted, and nothing lies between; paint one more slice, or choose to fill "
            "all slices."
        ),
        "crossing_axes": _(
            "{path}: labels are painted on slices of axis {axis} and of axis {other} (slice {index}); keep the "
            "painted slices of one axis."
        ),
        "nothing_to_fill": _(
            "{path}: every slice of axis {axis} in the asked range is labelled; ask for other slices, or for the "
            "axis that was painted along."
        ),
        "layers_overlap": _(
            "{path}: the segments overlap and {suffix} keeps one label per voxel; use a name that ends in .seg.nrrd."
        ),
        "output_is_input": _("{path}: the output would replace the input; choose another name."),
        "output_unwritable": _("{path}: cannot be written ({detail}); choose another folder or free some room."),
        "output_kept_elsewhere": _(
            "{path}: cannot be written ({detail}); the finished result is kept in {kept}: free some room and "
            "move it from there."
        ),
        "no_engine_finished": _("No engine finished: {reasons}."),
        "engine_and_reason": _("{engine}: {reason}"),
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
        "worker_line_passed_over": _("The worker wrote a line that is no event; it was passed over."),
        "run_can_be_resumed": _("finished slices are kept; press Resume to go on"),
        "comparison_can_be_repeated": _("compare again, with fewer engines or smaller sizes where memory is short"),
        "suggestion_can_be_repeated": _("press Suggest next slice again"),
        "time_limit_over": _("The time limit of {seconds:g} s is over; the run goes on to its last slice."),
        "computes_on_processor": _("Engine {engine} computes on the processor: {reason}."),
        "gpu_of_apple": _("an Apple GPU is used only when asked for; choose device mps in the settings to try it"),
        "gpu_not_in_build": _(
            "the installed torch is built for processors only; install a build with CUDA if there is an NVIDIA GPU"
        ),
        "gpu_not_found": _("torch finds no NVIDIA GPU it can use; check the driver with nvidia-smi if there is one"),
        "fewer_examples": _("Engine {engine} now shows {count} labelled slices at a time, for want of memory."),
        "segments_nameless": _(
            "{count} of {total} segments have no name in words; their boxes are carried from the labelled slices "
            "alone."
        ),
        "engine_left": _("Engine {engine} gave no result for {count} slices; choose another engine."),
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
        "needs_package": _("it needs the Python package {package}; choose it and press Fill to install that"),
        "needs_packages": _("it needs the Python packages {packages}; choose it and press Fill to install them"),
        "model_missing": _("{path}: there is no trained model in it; train the task first."),
        "model_damaged": _("{path}: the trained model cannot be read ({detail}); train the task again."),
        "model_labels_differ": _(
            "{path}: the model was trained on {found} segments and the task has {wanted}; train the task again."
        ),
        "model_not_given": _("Engine {engine} needs a task with a trained model; name the task."),
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
        "device_unavailable": _("Engine {engine} cannot use device '{device}'; choose one of: {known}."),
        "option_unknown": _("Engine {engine} has no option '{option}'; it knows: {known}."),
        "budget_invalid": _("'{budget}' is no time limit; give the seconds, more than 0, for example 60."),
        "option_invalid": _("Option {option} of engine {engine} cannot be {value!r}; {expected}."),
        "job_folder_used": _(
            "{path}: it is there already and is not an empty folder; choose a new one, or continue its job."
        ),
        "job_folder_unreadable": _("{path}: the job cannot be read ({detail}); start a new one."),
        "job_differs": _(
            "{path}: the job in this folder was started with another {what}; give the same input or a new folder."
        ),
        "job_busy": _("{path}: another worker is still running on this job; wait for it or stop it first."),
        "manifest_unreadable": _("{path}: the manifest cannot be read ({detail}); save it as CSV in UTF-8."),
        "manifest_columns": _(
            "{path}: the manifest has no column {missing}; its first row must name the columns, for example {header}."
        ),
        "manifest_column_twice": _("{path}: the manifest has two columns {column}; keep one."),
        "manifest_empty": _("{path}: the manifest lists no case; add a row for each volume."),
        "manifest_row": _("{path}, row {row}: {detail}"),
        "manifest_cells": _(
            "it has {count} cells and the header {columns}; put text that holds the separator in quotes."
        ),
        "manifest_cell_empty": _("nothing is in column {column}; name a file there."),
        "case_name_twice": _(
            "case '{name}' is in row {row} already; give each case a name of its own (column name)."
        ),
        "case_name": _("'{name}' cannot name a case; use a plain folder name without / and \\ (column name)."),
        "case_link": _("{path}: this is a link; a case's folder must lie in the output folder itself."),
        "number_invalid": _("'{text}' is no number of {what}; give a whole number from {least} to {most}."),
        "batch_folder_used": _("{path}: it holds a batch already; choose a new folder, or continue that one."),
        "batch_folder_foreign": _("{path}: it holds other files and no batch; choose a new folder."),
        "batch_busy": _("{path}: another batch runs in this folder; wait for it or stop it first."),
        "no_batch": _("{path}: no batch was written here; choose the folder with status.csv."),
        "review_nothing": _("No case is shown; choose one from the table first."),
        "review_busy": _("A case is being read or written; wait for it."),
        "review_not_done": _("Case '{name}' has no result to look at; choose one that is done."),
        "review_overlap": _(
            "Segment '{segment}' overlaps another one and label.nii.gz keeps one label per voxel; remove the "
            "overlap first."
        ),
        "review_off_grid": _(
            "Segmentation '{name}' lies on another grid than the image of its case, or outside it; choose that "
            "image as its source geometry in the Segment Editor."
        ),
        "case_task_twice": _("it names a task in both columns, library and task; leave one empty."),
        "task_name_twice": _("Two segments are named '{segment}'; give each a name of its own."),
        "task_segments": _(
            "{path}: segment {other} is not in task '{name}', which has: {known}; give it the name of one of these."
        ),
        "task_engine": _("Engine {engine} cannot use the model of a task here; engines that can: {known}."),
        "task_untrained": _("Task '{name}' has no trained model; train it first."),
        "task_model_segments": _(
            "Model {number} of task '{name}' was trained on other segments ({other}) than the task has now "
            "({known}); train it again."
        ),
        "task_folder_none": _("{path}: this is not the folder of a task; choose another one, or create a task."),
        "library_name": _("'{name}' cannot name a task; use a plain folder name without / and \\."),
        "library_unknown": _("There is no task '{name}'; there are: {known}."),
        "library_taken": _("There is a task '{name}' already; choose another name, or add to it."),
        "library_damaged": _("Task '{name}' is damaged ({file}); import or save it again."),
        "library_full": _("Task '{name}' holds {most} slices, and no more fit; begin another one."),
        "library_plane": _(
            "Task '{name}' holds {plane} slices and those along axis {axis} are {other}; choose the axis "
            "of the same plane."
        ),
        "library_labels": _(
            "None of the labels of the support is in task '{name}', which has: {known}; give them the same names."
        ),
        "library_engine": _(
            "Engine {engine} needs labelled slices of the same volume and cannot use a task; engines "
            "that can: {known}."
        ),
        "status_unreadable": _("{path}: this is no table of cases as a batch writes it; correct it or move it away."),
        "status_row": _(
            "the row of case '{name}' cannot be read: status is done, failed, skipped or running, seconds a "
            "number, accepted yes or no; correct it."
        ),
        "review_running": _(
            "Case '{name}' is being filled again by a batch; nothing was written. Wait for its new result."
        ),
        "source_not_labelmap": _(
            "Segmentation '{name}' is stored as {source}; make its binary labelmap the source first "
            "(Segmentations module, Representations)."
        ),
        "segment_off_grid": _(
            "Segment '{segment}' of '{name}' lies on another grid than its segmentation; choose the source "
            "geometry in the Segment Editor so that it is resampled."
        ),
        "node_empty": _("Volume '{name}' holds no voxels; choose another one."),
        "node_not_volume": _("Volume '{name}' is not a single-channel 3D volume; choose another one."),
        "volume_sequence": _(
            "Volume '{name}' is one of {frames} frames of a sequence, and labels belong to one frame; clone the "
            "volume (Data module) and choose the copy."
        ),
        "transform_not_linear": _(
            "Volume '{name}' and the segmentation are related by a non-linear transform; harden it first."
        ),
        "volume_changed": _(
            "The voxels of volume '{name}' changed during the run (another time frame?); nothing was filled."
        ),
        "run_active": _("A run is active; wait for it or cancel it first."),
        "run_unexpected": _(
            "An unexpected error ended the run ({kind}, code {number}). The segmentation is as it was, and "
            "finished slices are kept; please report it with what is in {log}."
        ),
        "step_unexpected": _(
            "An unexpected error ended this step ({kind}, code {number}); please report it with what is in {log}."
        ),
        "run_not_left": _("The unfinished run is no longer there, or another window works on it; fill anew."),
        "run_volume_missing": _("The volume of the unfinished run is not in the scene; load it and choose it."),
        "host_memory": _("There is not enough memory to prepare this volume; crop it first (Crop Volume module)."),
        "node_gone": _("The {what} was removed during the run; nothing was filled."),
        "grid_changed": _("The geometry of segmentation '{name}' changed during the run; nothing was filled."),
        "memory_short": _(
            "There is not enough memory on device {device} for engine {engine}; close other programs, choose "
            "device cpu, or crop the volume."
        ),
        "pytorch_extension_missing": _(
            "This engine needs PyTorch; install the extension PyTorch (Extensions Manager), restart Slicer and "
            "try again."
        ),
        "install_failed": _("{packages}: could not be installed ({detail}); see Slicer's Python console."),
        "licence_not_accepted": _(
            "The weights '{name}' may not be used for everything (licence: {licence}); read their licence and "
            "agree to it first."
        ),
        "download_failed": _("{url}: cannot be fetched ({detail}); try again, it goes on where it broke off."),
        "download_wrong": _("{url}: gave something else than '{name}', which was deleted: {detail}"),
        "download_busy": _("The weights '{name}' are just being fetched by another program; wait for it."),
        "import_wrong": _("{path}: was not taken in as '{name}': {detail}"),
        "weights_unknown": _("There is no checkpoint named '{name}'; choose one of: {known}."),
        "weights_missing": _("The weights '{name}' are not on this computer; press Fill to download them."),
        "weights_unrecorded": _("{path}: it is not known where this file came from; download '{name}' anew."),
        "weights_size": _(
            "{path}: this is not '{name}' as published ({found} bytes instead of {expected}); fetch it again."
        ),
        "weights_differ": _(
            "{path}: this is not '{name}' as published or first seen (its {algorithm} differs); remove it and "
            "fetch it again."
        ),
        "weights_differ_first": _(
            "{path}: this is not '{name}' as first seen here (its {algorithm} differs); remove the file and "
            "download it again."
        ),
        "weights_damaged": _("{path}: the weights cannot be read ({detail}); fetch the file again."),
        "weights_code": _(
            "{path}: the file holds more than tensors and could run code; it was not loaded. Fetch it from its "
            "publisher."
        ),
        "weights_bomb": _(
            "{path}: the file would unpack to more than its own size; it was not loaded. Fetch it from its publisher."
        ),
        "weights_escape": _(
            "{path}: the archive names files outside itself; it was not loaded. Fetch it from its publisher."
        ),
        "weights_no_state": _("{path}: the file holds no weights by name; fetch it from its publisher."),
        "weights_architecture": _("{path}: these weights belong to another model ({detail}); fetch the right file."),
        "series_unknown": _("{path}: the folder holds no series {series}; it holds {known}."),
        "series_no_place": _(
            "{path}: {first} does not say where it lies in the patient (Image Position and Orientation Patient); "
            "give a CT, MR or PET series, or convert it to NIfTI or NRRD with the right spacing."
        ),
        "series_no_spacing": _(
            "{path}: {first} does not say how large its pixels are (Pixel Spacing); export the series again, or "
            "convert it to NIfTI or NRRD with the right spacing."
        ),
        "series_colour": _("{path}: {first} is a colour image; give a series of grey images."),
        "series_many_volumes": _(
            "{path}: the series holds several volumes, {count} {what}, and labels belong to one; split it first, "
            "for example with dcm2niix, and give one of them."
        ),
        "series_compressed": _(
            "{path}: {first} is compressed in a way that cannot be read here ({what}); decompress it first, for "
            "example with dcmdjpeg or gdcmconv."
        ),
        "segmentation_as_image": _(
            "{path}: this is a DICOM segmentation, which holds labels and no image; give the images it was made "
            "on, and this file as the labels."
        ),
        "not_an_image": _("{path}: this is a DICOM {kind} and no image; give the folder of the images."),
        "structure_set": _(
            "{path}: this is a DICOM structure set (RTSTRUCT), which holds contours and no voxels; load it in 3D "
            "Slicer with the extension SlicerRT and save the segmentation as .seg.nrrd, or convert it with "
            "plastimatch or dcmrtstruct2nii."
        ),
        "no_labels_in_dicom": _(
            "{path}: this is a DICOM {kind}, which holds no labels; give a label map, a .seg.nrrd or a DICOM "
            "segmentation."
        ),
        "many_segmentations": _(
            "{path}: the folder holds {count} DICOM segmentations ({names}); give one of these files."
        ),
        "no_segmentation": _("{path}: the folder holds no DICOM segmentation; give the file of the labels."),
        "segmentation_unplaced": _(
            "{path}: the frames of the segmentation do not say where they lie or what they show; export it again "
            "from the program that made it."
        ),
        "segmentation_part": _(
            "{path}: the file holds a part of a segmentation only, the rest of which is in other files (a "
            "concatenation); export it as one file."
        ),
        "segmentation_fractional": _(
            "{path}: the segmentation holds fractions (fractional labelmap); convert it to a binary labelmap in "
            "module Segmentations of 3D Slicer."
        ),
        "series_part": _(
            "{path}: {found} of the {count} files of a volume that was cut into several (a concatenation) are "
            "there; copy the others from the archive."
        ),
        "segmentation_grids": _(
            "{path}: the frames of the segmentation lie on no common grid; load it in 3D Slicer and save it as "
            ".seg.nrrd."
        ),
        "series_sizes": _("{path}: the slices differ in {what} ({first}); keep those of one series."),
        "series_is_file": _(
            "{path}: this file holds no DICOM series; name the folder of a series, or a multi-frame file."
        ),
        "series_one_slice": _("{path}: the folder holds one slice only; give the whole series."),
        "series_frames": _(
            "{path}: {first} does not name its study, patient position or frame of reference ({what}); export "
            "the series again."
        ),
        "series_gap": _("{path}: slices are missing ({missing}); copy them from the archive."),
        "series_gap_labels": _(
            "{path}: slices are missing ({missing}), and {count} labelled voxels lie on them; copy the slices "
            "from the archive, or agree to leave them out."
        ),
        "reference_missing": _(
            "{path}: a DICOM segmentation belongs to a DICOM series; name the folder of its images, or agree to "
            "derive a series from the volume."
        ),
        "labels_off_grid": _(
            "{path}: the labels lie on another grid than the image ({what} {found} instead of {expected}{off}); "
            "give the label map that belongs to this image, or agree to resample it."
        ),
        "labels_shape": _("The labels have {found} voxels and the volume has {expected}; give both on one grid."),
        "labels_several": _("The segments overlap and lie in several layers; take each from `layers`."),
        "export_differs": _("{path}: what was read back differs from what was written ({detail}); nothing was kept."),
        "labels_upright": _(
            "{path}: the labels lie on upright slices, those of the series are tilted by {angle:.1f} degrees; "
            "say whether they match slice by slice or are to be resampled."
        ),
        "labels_outside": _("{path}: {count} labelled voxels lie outside the images; agree to crop them."),
        "labels_regridded": _("{path}: the labels were put on the image's grid{how}: {done}{lost}."),
        "labels_empty": _("{path}: there is no labelled voxel to export; fill or paint something first."),
        "labels_changed": _("Names that DICOM cannot hold are written otherwise: {segments}."),
        "folder_not_empty": _("{path}: the folder is not empty; choose a new one."),
        "segments_empty": _("Segments without a voxel are left out: {segments}."),
        "export_overlap": _(
            "{path}: segments overlap and this format keeps one label per voxel; choose another format."
        ),
        "output_exists": _("{path}: it is there already; choose another name, or agree to overwrite it."),
        "codes_missing": _("Segments without a code, with a suggestion for each: {segments}."),
        "codes_suggested": _("Codes suggested by name: {segments}."),
        "codes_unknown": _("Segments without a code, of an unknown name: {segments}; say what they are."),
        "codes_generic": _("Segments coded as plain tissue: {segments}; their names suggest better codes."),
        "database_missing": _("There is no DICOM database; open one in the DICOM module, or choose a file."),
        "database_incomplete": _(
            "Volume '{name}': {gone} of its {count} DICOM slices are no longer in the database; import them "
            "again, or name their folder."
        ),
        "database_refused": _(
            "{path}: the DICOM database did not take the file; look at module DICOM, or choose a file."
        ),
        "dicom_packages_missing": _(
            "DICOM needs the Python package {package}, which Slicer has from 5.12 on; update Slicer."
        ),
        "headers_changed": _(
            "{path}: header values that break the standard are written otherwise or left empty in the "
            "segmentation: {attributes}."
        ),
        "dicom_refused": _(
            "{path}: no segmentation can be made for this series ({detail}); export the series again."
        ),
        "engine_unnamed": _("Nothing says which engine made the segments; '{name}' is noted."),
        "code_malformed": _(
            "'{text}' is no known structure and no code; write a name such as 'liver', or SCHEME^VALUE^MEANING, "
            "for example SCT^10200004^Liver."
        ),
        "code_without_segment": _("There is no segment named '{name}' to give a code; there are: {known}."),
        "structures_unreadable": _(
            "{path}: the table of structures cannot be read at row {row}; it needs the columns name, category, "
            "category_meaning, type, type_meaning."
        ),
        "compare_too_few": _(
            "Comparing needs at least two slices that show a label, and found {count}; paint more slices."
        ),
        "support_sizes_impossible": _("None of these support sizes is possible here; choose from 1 to {most}."),
        "no_engine_runs": _("No engine to compare can run here ({detail})."),
        "comparison_differs": _(
            "{path}: the comparison in this folder was started with another image or labels; give the same or a "
            "new folder."
        ),
        "comparison_damaged": _(
            "{path}: what is compared in this folder cannot be read (comparison.json); start a new comparison in "
            "another folder."
        ),
        "comparison_folder_used": _(
            "{path}: it is there already and is not an empty folder; choose a new one, or go on with its comparison."
        ),
        "package_broken": _(
            "The package {package} does not load ({detail}); install the one that was made for the installed torch."
        ),
        "worker_silent": _("The worker's Python did not answer ({detail}); restart Slicer and try again."),
        "package_missing": _(
            "The Python package {package} is missing; press Fill to install it, or install it in Slicer's Python "
            "console."
        ),
        # Why a control cannot be used now.
        "volume_not_chosen": _("Choose a volume first."),
        "segmentation_not_chosen": _("Choose or create a segmentation first."),
        "nodes_not_chosen": _("Choose a volume and a segmentation first."),
        "run_under_way": _("Wait for the run to end, or cancel it."),
        "slices_being_kept": _("The finished slices are being kept."),
        "no_slice_finished": _("No slice is finished yet."),
        "segmentation_being_read": _("Looking at the segmentation ..."),
        "too_few_painted": _("Paint at least two slices first."),
        "one_painted": _("Paint one more slice: nothing lies between yet."),
        "nothing_running": _("Nothing is running."),
        "no_interrupted_run": _("No run was interrupted."),
        "no_labelled_before": _("No slice before this one is labelled."),
        "no_labelled_after": _("No slice after this one is labelled."),
        "labelled_already": _("This slice counts as labelled already."),
        "suggesting_already": _("Already looking."),
        "none_painted": _("Paint a first slice: wherever the structure is seen best."),
        "all_labelled": _("Every slice is labelled."),
        "segment_locked": _("Locked: it is not filled and never changed."),
        "nothing_to_review": _("Fill first: what was filled is reviewed here."),
        "no_slice_selected": _("Select slices in the table first."),
        "accepting_slices": _("Wait a moment: slices are being accepted."),
        "all_reviewed": _("No slice is left to review."),
        "none_in_progress": _("No slice is in progress."),
        "no_segment_clicked": _("Click a segment in the table first."),
        "example_unavailable": _(
            "The example cannot be downloaded; check the connection, or load a volume of your own."
        ),
        "uncertainty_gone": _("Known until the scene is closed; fill again to see it."),
        "differences_gone": _("What the last fill changed is known only until the scene is closed."),
        "needs_no_accepting": _("Painted, corrected, accepted and empty slices need no accepting."),
        "nothing_to_reset": _("None of the selected slices was accepted or flagged."),
        "nothing_to_refill": _("Every slice is painted, corrected or accepted."),
        "export_under_way": _("Wait for the export to end."),
        "dicom_seg_only": _("Only for DICOM segmentations."),
        "no_database_open": _("There is no DICOM database; open one in the DICOM module."),
        "goes_into_database": _("The segmentation goes into the DICOM database."),
        "dicom_seg_holds_all": _("A DICOM segmentation holds all segments."),
        "file_not_chosen": _("Choose where the file goes first."),
        "export_unchecked": _("Check first."),
        "export_problems_left": _("Resolve the listed problems first."),
        "comparison_under_way": _("Wait for the comparison to end, or cancel it."),
        "no_comparison_under_way": _("No comparison is under way."),
        "nothing_compared": _("Compare first."),
        "no_engine_clicked": _("Click an engine in the table first."),
        "plot_removed": _("The plot was removed; compare again."),
        "engines_being_read": _("Looking which engines can run here ..."),
        "no_engine_ticked": _("Tick an engine first."),
        "files_busy": _("Wait for the files to be read or written."),
        "no_batch_open": _("Open a batch folder first."),
        "batch_folder_not_chosen": _("Choose the folder that a batch was written to first."),
        "no_case_clicked": _("Click a case first."),
        "case_accepted_already": _("It is accepted already."),
        "no_other_case": _("No other case is done and not accepted."),
        "case_not_accepted": _("It is not accepted."),
        "no_weights_downloaded": _("No weights were downloaded."),
        "usual_folder": _("This is the usual folder."),
        "no_licence_clicked": _("Click a licence first."),
        "details_being_gathered": _("The details are being gathered."),
    }
