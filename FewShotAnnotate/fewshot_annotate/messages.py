"""Sentences of errors and notes for users of the Python API and for logs.

They name neither options of the command line nor buttons: `cli.messages` and `host.messages` do. Each says what was
given, what is wrong with it and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .core.errors import Message
from .core.text import printable, shortened

SENTENCES = {
    "file_missing": "{path}: no such file or folder; check the name.",
    "file_unreadable": "{path}: cannot be read as an image ({detail}); check that the file is complete.",
    "file_is_folder": "{path}: this is a folder; give one image file.",
    "file_not_regular": "{path}: this is a pipe or a device; give a file.",
    "path_unreachable": "{path}: cannot be reached ({detail}); check the name and the rights to its folder.",
    "file_empty": "{path}: the file is empty; export or copy it again.",
    "file_truncated": "{path}: the file ends too early ({detail}); export or copy it again.",
    "image_too_large": "{path}: the image needs more memory than this computer has; crop it or make it coarser.",
    "geometry_impossible": "{path}: the header gives no spacing, position and directions that can be; write the "
    "file again with the program that made it.",
    "partner_missing": "{path}: the file {partner}, which holds its voxels, is not beside it; copy it there.",
    "nibabel_missing": "{path}: reading FreeSurfer's format needs the Python package nibabel; convert the file "
    "with: mri_convert IN.mgz OUT.nii.gz.",
    "axis_too_long": "An axis is longer than the {most} voxels that NIfTI can hold; use a name that ends in .nrrd.",
    "suffix_unknown": "{path}: unknown file type; use a name that ends in {allowed}.",
    "no_series": "{path}: there is no DICOM image series in it; choose the folder with the slices.",
    "many_series": "{path}: the folder holds {count} DICOM series: {known}; choose one by its number or by the "
    "name of one of its files, or give a folder with one.",
    "series_uneven": "{path}: the DICOM slices are not evenly spaced (gaps from {least:.3f} to {most:.3f} mm); "
    "find the missing or doubled slices.",
    "series_tilted": "{path}: the DICOM slices are shifted against each other (gantry tilt {angle:.1f} degrees); "
    "resample the series onto an upright grid first.",
    "series_mixed": "{path}: the slices of the series do not lie in parallel ({count} others, such as {first}); "
    "move them, a localizer perhaps, to another folder.",
    "series_doubled": "{path}: {first} and {second} lie at the same place; keep one slice for each place.",
    "sidecar_unreadable": "{path}: the list of label names cannot be read; correct it or move it away.",
    "channel_elsewhere": "{path}: it lies beside the volume and covers none of it; give a volume of the same patient "
    "in the same position.",
    "channel_covers_part": "Volume {number} covers {percent} % of the volume to fill; elsewhere its lowest intensity "
    "stands in for it.",
    "channel_shape": "{path}: the array has {found} voxels and the volume {expected}; give an image with a position.",
    "channels_unsupported": "Engine {engine} works on one volume; give no others, or choose one of: {known}.",
    "channels_ignored": "Engine {engine} works on one volume; it was given the first one alone.",
    "not_3d": "{path}: the image has {dimension} dimensions; give one 3D volume.",
    "not_scalar": "{path}: the image has {components} values per voxel; give a single-channel volume.",
    "volume_nan": "{path}: {count} voxels are not finite numbers; replace them before labelling.",
    "volume_constant": "{path}: every voxel has the same value ({value:g}); this is no image to label.",
    "label_not_integer": "{path}: label values must be whole numbers, found {value:g}; save it as a label map.",
    "label_out_of_range": "{path}: label value {value} is outside 0..65535; renumber the labels.",
    "axis_out_of_range": "Axis {axis} does not exist; choose 0, 1 or 2 (array order: slices, rows, columns), or "
    "axial, coronal or sagittal.",
    "axis_unclear": "{path}: the labels do not show along which axis slices were painted; choose one of {planes}.",
    "plane_oblique": "The volume is tilted too far to tell which of its axes has {plane} slices; choose axis 0, 1 or "
    "2 (array order: slices, rows, columns).",
    "slice_out_of_range": "Slice {index} does not exist along axis {axis}; slices run from 0 to {last}.",
    "slices_malformed": "'{text}' is not a list of slice numbers, which count from 0; write for example 3,10,20.",
    "no_labelled_slice": "{path}: no slice is labelled; paint at least two slices first.",
    "one_labelled_slice": "{path}: only slice {index} is labelled, and nothing lies between; label one more "
    "slice, or ask for all slices.",
    "crossing_axes": "{path}: labels are painted on slices of axis {axis} and of axis {other} (slice {index}); "
    "keep the painted slices of one axis.",
    "nothing_to_fill": "{path}: every slice of axis {axis} in the asked range is labelled; ask for other slices, "
    "or for the axis that was painted along.",
    "layers_overlap": "{path}: the segments overlap and {suffix} keeps one label per voxel; use a name that ends "
    "in .seg.nrrd.",
    "output_is_input": "{path}: the output would replace the input; choose another name.",
    "output_unwritable": "{path}: cannot be written ({detail}); choose another folder or free some room.",
    "output_kept_elsewhere": "{path}: cannot be written ({detail}); the finished result is kept in {kept}: free "
    "some room and move it from there.",
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
    "engine_unknown": "There is no engine named '{engine}'; choose one of: {known}.",
    "engine_unavailable": "Engine {engine} cannot run here: {detail}",
    "needs_package": "it needs the Python package {package}: pip install {package}",
    "needs_packages": "it needs the Python packages {packages}: pip install {install}",
    "needs_newer_torch": "it needs torch {least} or newer, not {installed}; install a newer one with pip",
    "needs_weights": "it needs weights ({weights}); download them first",
    "device_unavailable": "Engine {engine} cannot use device '{device}'; choose one of: {known}.",
    "option_unknown": "Engine {engine} has no option '{option}'; it knows: {known}.",
    "budget_invalid": "'{budget}' is no time limit; give the seconds, more than 0, for example 60.",
    "option_invalid": "Option {option} of engine {engine} cannot be {value!r}; {expected}.",
    "job_folder_used": "{path}: it is there already and is not an empty folder; choose a new one, or continue "
    "its job.",
    "job_folder_unreadable": "{path}: the job cannot be read ({detail}); start a new one.",
    "job_differs": "{path}: the job in this folder was started with another {what}; give the same input or a new "
    "folder.",
    "job_busy": "{path}: another worker is still running on this job; wait for it or stop it first.",
    "manifest_unreadable": "{path}: the manifest cannot be read ({detail}); save it as CSV in UTF-8.",
    "manifest_columns": "{path}: the manifest has no column {missing}; its first row must name the columns, for "
    "example {header}.",
    "manifest_column_twice": "{path}: the manifest has two columns {column}; keep one.",
    "manifest_empty": "{path}: the manifest lists no case; add a row for each volume.",
    "manifest_row": "{path}, row {row}: {detail}",
    "manifest_cells": "it has {count} cells and the header {columns}; put text that holds the separator in quotes.",
    "manifest_cell_empty": "nothing is in column {column}; name a file there.",
    "not_a_folder": "{path}: this is no folder; give the folder of the files.",
    "dataset_list": "{path}: the list of cases cannot be read ({detail}); correct it or move it away.",
    "pair_images": "{path}: several images fit these labels ({images}); choose by a pattern.",
    "pair_labels": "{path}: several label maps fit this image ({labels}); choose by a pattern.",
    "pair_path": "{path}: this path cannot stand in a table; rename the file or its folder.",
    "pairs_none": "{path}: no image with labels of a fitting name was found; name both alike.",
    "case_row": "row {row}: {detail}",
    "case_name_twice": "case '{name}' is in row {row} already; give each case a name of its own (column name).",
    "case_name": "'{name}' cannot name a case; use a plain folder name without / and \\ (column name).",
    "case_task_twice": "it names a task in both columns, library and task; leave one empty.",
    "case_link": "{path}: this is a link; a case's folder must lie in the output folder itself.",
    "case_overlaps": "{path}: the segments overlap and label.nii.gz keeps one label per voxel; fill this volume "
    "by itself into a .seg.nrrd.",
    "no_engine_finished": "No engine finished: {reasons}.",
    "engine_and_reason": "{engine}: {reason}",
    "run_memory_short": "There is not enough memory for this engine on this volume; close other programs, choose "
    "another engine, or crop the volume.",
    "run_folder_failed": "The job folder cannot be read or written ({detail}); free some room or choose another.",
    "worker_failed": "An unexpected error ended the run ({kind}, code {number}); please report it with what is in "
    "worker.log.",
    "worker_absent": "The worker process did not start; try again.",
    "worker_not_started": "The worker process could not be started ({detail}): {program}",
    "worker_other_version": "The worker has version {found}, this program {expected}; restart the application so "
    "that both are the same.",
    "worker_other_copy": "Another copy of the worker started ({path}); remove the second installation.",
    "worker_cannot_write": "The worker process could not write to the job folder, often because the disk is full; "
    "{advice}.",
    "worker_killed": "The worker process was ended from outside, often because memory ran out; {advice}.",
    "worker_crashed": "The worker process crashed (signal {number}); {advice}.",
    "worker_exited": "The worker process ended unexpectedly (code {number}{line}); {advice}.",
    "worker_line_passed_over": "The worker wrote a line that is no event; it was passed over.",
    "run_can_be_resumed": "finished slices are kept and the job can be resumed",
    "comparison_can_be_repeated": "compare again, with fewer engines or smaller sizes where memory is short",
    "suggestion_can_be_repeated": "look for a slice again",
    "time_limit_over": "The time limit of {seconds:g} s is over; the run goes on to its last slice.",
    "computes_on_processor": "Engine {engine} computes on the processor: {reason}.",
    "gpu_of_apple": "an Apple GPU is used only when asked for; choose device mps to try it",
    "gpu_not_in_build": "the installed torch is built for processors only; install a build with CUDA if there is an "
    "NVIDIA GPU",
    "gpu_not_found": "torch finds no NVIDIA GPU it can use; check the driver with nvidia-smi if there is one",
    "fewer_examples": "Engine {engine} now shows {count} labelled slices at a time, for want of memory.",
    "segments_nameless": "{count} of {total} segments have no name in words; their boxes are carried from the "
    "labelled slices alone.",
    "engine_left": "Engine {engine} gave no result for {count} slices; choose another engine.",
    "number_invalid": "'{text}' is no number of {what}; give a whole number from {least} to {most}.",
    "batch_folder_used": "{path}: it holds a batch already; choose a new folder, or continue that one.",
    "batch_folder_foreign": "{path}: it holds other files and no batch; choose a new folder.",
    "batch_busy": "{path}: another batch runs in this folder; wait for it or stop it first.",
    "library_name": "'{name}' cannot name a task; use a plain folder name without / and \\.",
    "library_unknown": "There is no task '{name}'; there are: {known}.",
    "library_taken": "There is a task '{name}' already; choose another name, or add to it.",
    "library_damaged": "Task '{name}' is damaged ({file}); import or save it again.",
    "task_unreadable": "{path}: the task cannot be read now ({detail}); try again when that is solved.",
    "library_full": "Task '{name}' holds {most} slices, and no more fit; begin another one.",
    "library_plane": "Task '{name}' holds {plane} slices and those along axis {axis} are {other}; choose "
    "the axis of the same plane.",
    "library_labels": "None of the labels of the support is in task '{name}', which has: {known}; give "
    "them the same names.",
    "library_engine": "Engine {engine} needs labelled slices of the same volume and cannot use a task; "
    "engines that can: {known}.",
    "no_batch": "{path}: no batch was written here; choose the folder with status.csv.",
    "case_unrecorded": "{path}: it does not say which image the case is of; run the batch again with this case.",
    "task_folder_none": "{path}: this is not the folder of a task; check its name, or create the task first.",
    "task_name_twice": "Two segments are named '{segment}'; give each a name of its own.",
    "task_segments": "{path}: segment {other} is not in task '{name}', which has: {known}; give it the name of one "
    "of these.",
    "task_no_labels": "{path}: nothing is labelled; an example needs labels, or say which slices were labelled.",
    "task_plane": "{path}: its labelled slices along axis {axis} are {other}, those of task '{name}' {plane}; label "
    "slices of the same plane, or the whole volume.",
    "task_changed": "Task '{name}' was changed by somebody else meanwhile; nothing was added, try again.",
    "task_full": "Task '{name}' holds {most} examples or models, and no more fit; begin another one.",
    "task_no_example": "Task '{name}' has no example {number}; it has: {known}.",
    "task_without_examples": "Task '{name}' has no labelled examples; add some before it is trained.",
    "task_label_nowhere": "Segment '{segment}' is on no example of task '{name}'; add one that shows it.",
    "task_in_training": "Task '{name}' is being trained by another process; wait for it or stop it first.",
    "task_engine": "Engine {engine} cannot use the model of a task here; engines that can: {known}.",
    "review_not_done": "Case '{name}' has no result to look at; choose one that is done.",
    "review_running": "Case '{name}' is just being filled; nothing was written. Wait for its result.",
    "no_volumes": "{path}: no volume was found there; choose a folder with NIfTI, NRRD or DICOM files.",
    "dataset_settings": "{path}: it does not say which task it belongs to; choose the task again.",
    "filling_can_be_continued": "filled cases are kept; fill again to go on",
    "training_can_be_continued": "train again to go on where it ended",
    "case_unknown": "{path}: this batch has no case '{name}'; look at its status.csv.",
    "case_not_filled": "Case '{name}' is not filled yet; fill it first.",
    "case_in_review": "Case '{name}' is being reviewed by {reviewer}; take another one.",
    "next_expected": "its expected Dice is lower than that of most others ({dice})",
    "next_undecided": "the networks are undecided about more of its labelled voxels than of most others ({share})",
    "next_distant": "it differs more than most others from the labelled cases ({distance} standard deviations)",
    "next_usual": "nothing sets it apart from the others",
    "dataset_there": "{path}: it is there already; choose a new folder.",
    "dataset_empty": "{path}: no accepted case is there; accept some first.",
    "dataset_not_accepted": "{path}: case '{name}' is not accepted, or is labelled on some slices only; accept it "
    "first.",
    "dataset_label_nowhere": "Segment '{segment}' is in no case; remove it, or add a case that shows it.",
    "dataset_label_missing": "Segment '{segment}' is in nearly all cases, but not in: {cases}.",
    "dataset_spacing": "Case {case}: its spacing of {spacing} mm is far from that of the others ({typical} mm).",
    "dataset_volume": "Case {case}: {found} ml of '{segment}' are far from the others (typically {typical} ml).",
    "dataset_sides_named": "Case {case}: '{first}' lies to the right of '{second}'; left and right may be swapped.",
    "dataset_sides_differ": "Case {case}: '{first}' and '{second}' lie the other way round, left to right, than in "
    "most cases.",
    "dataset_same_image": "These cases have the same image: {cases}.",
    "dataset_bids_suffix": "BIDS needs to know the kind of image, and '{suffix}' is none; one of: {known}.",
    "task_untrained": "Task '{name}' has no trained model; train it first.",
    "task_model_segments": "Model {number} of task '{name}' was trained on other segments ({other}) than the task "
    "has now ({known}); train it again.",
    "library_file": "{path}: this is no task as `task export` writes it; export it again.",
    "library_file_there": "{path}: it is there already; choose another name.",
    "scheduler_unreachable": "{address}: no dask scheduler answers there ({detail}); start one, or give the right "
    "address.",
    "scheduler_lost": "The dask scheduler is gone; start it again and go on with the batch.",
    "scheduler_workers": "{address}: its workers do not have this version of fewshot-annotate ({detail}); "
    "install it for them.",
    "status_unreadable": "{path}: this is no table of cases as a batch writes it; correct it or move it away.",
    "status_row": "the row of case '{name}' cannot be read: status is done, failed, skipped or running, seconds "
    "a number, accepted yes or no; correct it.",
    "case_corrected": "A person corrected this result, so it was kept; to fill the case again, move its folder away.",
    "memory_short": "There is not enough memory on device {device} for engine {engine}; close other programs, "
    "choose device cpu, or crop the volume.",
    "licence_not_accepted": "The weights '{name}' may not be used for everything (licence: {licence}); read "
    "their licence and agree to it first.",
    "download_failed": "{url}: cannot be fetched ({detail}); try again, it goes on where it broke off.",
    "download_wrong": "{url}: gave something else than '{name}', which was deleted: {detail}",
    "download_busy": "The weights '{name}' are just being fetched by another program; wait for it.",
    "import_wrong": "{path}: was not taken in as '{name}': {detail}",
    "model_missing": "{path}: there is no trained model in it; train the task first.",
    "model_damaged": "{path}: the trained model cannot be read ({detail}); train the task again.",
    "model_labels_differ": "{path}: the model was trained on {found} segments and the task has {wanted}; "
    "train the task again.",
    "model_not_given": "Engine {engine} needs a task with a trained model; name the task.",
    "training_no_examples": "The task has no labelled examples; add some before training.",
    "training_grids_differ": "Example {number}: image and labels differ in size; add the example again.",
    "training_label_unknown": "Example {number}: it holds label {label}, and the task has {labels} "
    "segments; correct the labels or the task.",
    "training_label_missing": "Segment {label} of the task is on no labelled slice of any example; add "
    "an example that shows it, or remove the segment.",
    "weights_unknown": "There is no checkpoint named '{name}'; choose one of: {known}.",
    "weights_missing": "Weights '{name}' are not here; download them first.",
    "weights_unrecorded": "{path}: it is not known where this file came from; download '{name}' anew.",
    "weights_size": "{path}: this is not '{name}' as published ({found} bytes instead of {expected}); fetch it "
    "again.",
    "weights_differ": "{path}: this is not '{name}' as published or first seen (its {algorithm} differs); remove "
    "it and fetch it again.",
    "weights_differ_first": "{path}: this is not '{name}' as first seen here (its {algorithm} differs); remove "
    "the file and download it again.",
    "weights_damaged": "{path}: the weights cannot be read ({detail}); fetch the file again.",
    "weights_code": "{path}: the file holds more than tensors and could run code; it was not loaded. Fetch it "
    "from its publisher.",
    "weights_bomb": "{path}: the file would unpack to more than its own size; it was not loaded. Fetch it from "
    "its publisher.",
    "weights_escape": "{path}: the archive names files outside itself; it was not loaded. Fetch it from its "
    "publisher.",
    "weights_no_state": "{path}: the file holds no weights by name; fetch it from its publisher.",
    "weights_architecture": "{path}: these weights belong to another model ({detail}); fetch the right file.",
    "series_unknown": "{path}: the folder holds no series {series}; it holds {known}.",
    "series_no_place": "{path}: {first} does not say where it lies in the patient (Image Position and "
    "Orientation Patient); give a CT, MR or PET series, or convert it to NIfTI or NRRD with the right spacing.",
    "series_no_spacing": "{path}: {first} does not say how large its pixels are (Pixel Spacing); export the "
    "series again, or convert it to NIfTI or NRRD with the right spacing.",
    "series_colour": "{path}: {first} is a colour image; give a series of grey images.",
    "series_many_volumes": "{path}: the series holds several volumes, {count} {what}, and labels belong to one; "
    "split it first, for example with dcm2niix, and give one of them.",
    "series_compressed": "{path}: {first} is compressed in a way that cannot be read here ({what}); decompress "
    "it first, for example with dcmdjpeg or gdcmconv.",
    "segmentation_as_image": "{path}: this is a DICOM segmentation, which holds labels and no image; give the "
    "images it was made on, and this file as the labels.",
    "not_an_image": "{path}: this is a DICOM {kind} and no image; give the folder of the images.",
    "structure_set": "{path}: this is a DICOM structure set (RTSTRUCT), which holds contours and no voxels; load "
    "it in 3D Slicer with the extension SlicerRT and save the segmentation as .seg.nrrd, or convert it with "
    "plastimatch or dcmrtstruct2nii.",
    "no_labels_in_dicom": "{path}: this is a DICOM {kind}, which holds no labels; give a label map, a .seg.nrrd "
    "or a DICOM segmentation.",
    "many_segmentations": "{path}: the folder holds {count} DICOM segmentations ({names}); give one of these files.",
    "no_segmentation": "{path}: no DICOM segmentation lies in this folder itself; give the file of the labels.",
    "segmentation_unplaced": "{path}: the frames of the segmentation do not say where they lie or what they "
    "show; export it again from the program that made it.",
    "segmentation_part": "{path}: the file holds a part of a segmentation only, the rest of which is in other "
    "files (a concatenation); export it as one file.",
    "segmentation_fractional": "{path}: the segmentation holds fractions (fractional labelmap); convert it to a "
    "binary labelmap in module Segmentations of 3D Slicer.",
    "series_part": "{path}: {found} of the {count} files of a volume that was cut into several (a concatenation) "
    "are there; copy the others from the archive.",
    "segmentation_grids": "{path}: the frames of the segmentation lie on no common grid; load it in 3D Slicer "
    "and save it as .seg.nrrd.",
    "series_sizes": "{path}: the slices differ in {what} ({first}); keep those of one series.",
    "series_is_file": "{path}: this file holds no DICOM series; name the folder of a series, or a multi-frame file.",
    "series_one_slice": "{path}: the folder holds one slice only; give the whole series.",
    "series_frames": "{path}: {first} does not name its study, patient position or frame of reference ({what}); "
    "export the series again.",
    "series_gap": "{path}: slices are missing ({missing}); copy them from the archive.",
    "series_gap_labels": "{path}: slices are missing ({missing}), and {count} labelled voxels lie on them; copy "
    "the slices from the archive, or agree to leave them out.",
    "reference_missing": "{path}: a DICOM segmentation belongs to a DICOM series; name the folder of its images, "
    "or agree to derive a series from the volume.",
    "labels_off_grid": "{path}: the labels lie on another grid than the image ({what} {found} instead of "
    "{expected}{off}); give the label map that belongs to this image, or agree to resample it.",
    "labels_shape": "The labels have {found} voxels and the volume has {expected}; give both on one grid.",
    "clean_up_label": "There is no label '{label}' to clean up; there are: {known}.",
    "labels_several": "The segments overlap and lie in several layers; take each from `layers`.",
    "export_differs": "{path}: what was read back differs from what was written ({detail}); nothing was kept.",
    "labels_upright": "{path}: the labels lie on upright slices, those of the series are tilted by {angle:.1f} "
    "degrees; say whether they match slice by slice or are to be resampled.",
    "labels_outside": "{path}: {count} labelled voxels lie outside the images; agree to crop them.",
    "labels_regridded": "{path}: the labels were put on the image's grid{how}: {done}{lost}.",
    "labels_empty": "{path}: there is no labelled voxel to export; fill or paint something first.",
    "labels_changed": "Names that DICOM cannot hold are written otherwise: {segments}.",
    "folder_not_empty": "{path}: the folder is not empty; choose a new one.",
    "segments_empty": "Segments without a voxel are left out: {segments}.",
    "export_overlap": "{path}: segments overlap and this format keeps one label per voxel; choose another format.",
    "output_exists": "{path}: it is there already; choose another name, or agree to overwrite it.",
    "codes_missing": "Segments without a code, with a suggestion for each: {segments}.",
    "codes_suggested": "Codes suggested by name: {segments}.",
    "codes_unknown": "Segments without a code, of an unknown name: {segments}; say what they are.",
    "codes_generic": "Segments coded as plain tissue: {segments}; their names suggest better codes.",
    "dicom_packages_missing": "DICOM needs the Python package {package}, which Slicer has from 5.12 on; "
    'elsewhere install it with: pip install "fewshot-annotate[dicom]"',
    "headers_changed": "{path}: header values that break the standard are written otherwise or left empty in the "
    "segmentation: {attributes}.",
    "dicom_refused": "{path}: no segmentation can be made for this series ({detail}); export the series again.",
    "engine_unnamed": "Nothing says which engine made the segments; '{name}' is noted.",
    "code_malformed": "'{text}' is no known structure and no code; write a name such as 'liver', or "
    "SCHEME^VALUE^MEANING, for example SCT^10200004^Liver.",
    "code_without_segment": "There is no segment named '{name}' to give a code; there are: {known}.",
    "structures_unreadable": "{path}: the table of structures cannot be read at row {row}; it needs the columns "
    "name, category, category_meaning, type, type_meaning.",
    "compare_too_few": "Comparing needs at least two slices that show a label, and found {count}; paint more slices.",
    "volume_name_twice": "the name '{name}' is in an earlier row already; give each volume a name of its own.",
    "volume_unusable": "Volume '{name}' of the study cannot be used: {detail}",
    "support_sizes_impossible": "None of these support sizes is possible here; choose from 1 to {most}.",
    "no_engine_runs": "No engine to compare can run here ({detail}).",
    "comparison_differs": "{path}: the comparison in this folder was started with another image or labels; give "
    "the same or a new folder.",
    "comparison_damaged": "{path}: what is compared in this folder cannot be read (comparison.json); start a new "
    "comparison in another folder.",
    "comparison_folder_used": "{path}: it is there already and is not an empty folder; choose a new one, or go "
    "on with its comparison.",
    "package_broken": "The package {package} does not load ({detail}); install the one that was made for the "
    "installed torch.",
    "package_missing": "The package {package} is missing; install it with: pip install {install}",
}
# For a code without a sentence: one of another version, or of a part of the program that has its own sentences.
UNKNOWN = "This cannot be done ({code})."


def neutral_sentence(message: Message) -> str:
    """One line that says what a message means, whoever reads it."""
    return sentence(message, SENTENCES, UNKNOWN)


def sentence(message: Message | str, sentences: Mapping[str, str], unknown: str) -> str:
    """One line that says what a message means.

    Parameters
    ----------
    message : Message or str
        Messages among its data, such as the cause of an error, are said in sentences too. A sentence stays as it is.
    sentences : mapping of str to str
        Code -> sentence with placeholders for the data.
    unknown : str
        Sentence for a code that has none, or whose data do not fit, with the placeholder `code`.
    """
    if isinstance(message, str):
        return shortened(printable(message))
    data = {name: _say(value, sentences, unknown) for name, value in message.data.items()}
    try:
        text = sentences[message.code].format(**data)
    except (LookupError, ValueError, TypeError, AttributeError):  # of another version, or a faulty translation
        text = unknown.format(code=message.code)
    # A path may hold a line break; the sentence stays one line.
    return shortened(printable(" ".join(text.splitlines())))


def _say(value: Any, sentences: Mapping[str, str], unknown: str) -> Any:
    """A value for a placeholder; messages are said in sentences, those of a list without their full stops."""
    if isinstance(value, list):
        return "; ".join(str(_say(message, sentences, unknown)).rstrip(".") for message in value)
    return sentence(value, sentences, unknown) if isinstance(value, Message) else value
