"""Sentences about tasks, their models, batches and data sets."""

from __future__ import annotations

TASKS = {
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
    "pair_images": "{path}: several images fit these labels ({images}); choose one by a pattern.",
    "pair_labels": "{path}: several label maps fit this image ({labels}); choose one by a pattern.",
    "pair_path": "{path}: this path cannot stand in a table; rename the file or its folder.",
    "pairs_none": "{path}: no image with labels of a fitting name was found; name both alike.",
    "case_row": "row {row}: {detail}",
    "case_name_twice": "case '{name}' is in row {row} already; give each case a name of its own (column name).",
    "case_name": "'{name}' cannot name a case; use a plain folder name without / and \\ (column name).",
    "case_task_twice": "it names a task in both columns, library and task; leave one empty.",
    "case_link": "{path}: this is a link; a case's folder must lie in the output folder itself.",
    "case_overlaps": "{path}: the segments overlap and label.nii.gz keeps one label per voxel; fill this volume "
    "by itself into a .seg.nrrd.",
    "number_invalid": "'{text}' is no number of {what}; give a whole number from {least} to {most}.",
    "batch_folder_used": "{path}: it holds a batch already; choose a new folder, or continue that one.",
    "batch_folder_foreign": "{path}: it holds other files and no batch; choose a new folder.",
    "batch_busy": "{path}: another batch runs in this folder; wait for it or stop it first.",
    "library_name": "'{name}' cannot name a task; use a plain folder name without / and \\.",
    "library_unknown": "There is no task '{name}'; there are: {known}.",
    "library_taken": "There is a task '{name}' already; choose another name, or add to it.",
    "library_damaged": "Task '{name}' is damaged ({file}); import or save it again.",
    "task_of_later_version": "Task '{name}' was written by a later version of this program; install that version.",
    "task_example_damaged": "Example {number} of task '{name}' is damaged; remove it, and add its image and labels "
    "again.",
    "task_unreadable": "{path}: the task cannot be read now ({detail}); try again when that is solved.",
    "library_full": "Task '{name}' holds {most} slices, and no more fit; begin another one.",
    "library_plane": "Task '{name}' holds {plane} slices and those along axis {axis} are {other}; choose "
    "the axis of the same plane.",
    "library_labels": "None of the labels of the support is in task '{name}', which has: {known}; give "
    "them the same names.",
    "library_engine": "Engine {engine} needs labelled slices of the same volume and cannot use a task; "
    "engines that can: {known}.",
    "no_batch": "{path}: no batch was written here; choose the folder with status.csv.",
    "case_other_labels": "{path}: this file was saved later than {label}, the result of the case, and is not used; "
    "save the corrected labels as {label}, or move the file elsewhere.",
    "case_unrecorded": "{path}: it does not say which image the case is of; run the batch again with this case.",
    "task_folder_none": "{path}: this is not the folder of a task; check its name, or create the task first.",
    "task_file_is_folder": "{path}: this is a folder; give the .zip file of an exported task.",
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
    "task_model_unusable": "Model {number} of task '{name}' cannot be read; training does not start from it.",
    "task_in_training": "Task '{name}' is being trained by another process; wait for it or stop it first.",
    "task_engine": "Engine {engine} cannot use the model of a task here; engines that can: {known}.",
    "review_not_done": "Case '{name}' has no result to review; choose one that is done.",
    "review_running": "Case '{name}' is just being filled; nothing was written. Wait for its result.",
    "no_volumes": "{path}: no volume was found there; choose a folder with NIfTI, NRRD or DICOM files.",
    "no_volumes_but_labels": "{path}: all {count} image files there, or their folders, are named as label maps, "
    "such as {file}; rename them, or choose another folder.",
    "dataset_settings": "{path}: it does not say which task it belongs to; choose the task again.",
    "filling_can_be_continued": "filled cases are kept; fill again to go on",
    "training_can_be_continued": "train again to go on where it ended",
    "case_unknown": "{path}: this batch has no case '{name}'; see its status.csv.",
    "case_not_filled": "Case '{name}' is not filled yet; fill it first.",
    "case_in_review": "Case '{name}' is being reviewed by {reviewer}; choose another one.",
    "next_expected": "its expected Dice is lower than that of most others ({dice})",
    "next_undecided": "the networks are undecided about more of its labelled voxels than of most others ({share})",
    "next_distant": "it differs more than most others from the labelled cases ({distance} standard deviations)",
    "next_usual": "nothing sets it apart from the others",
    "dataset_there": "{path}: it is there already; choose a new folder.",
    "dataset_empty": "{path}: no accepted case is there; accept some first.",
    "dataset_no_whole_example": "Task '{name}' has no example that is labelled completely; add one first.",
    "dataset_not_accepted": "{path}: case '{name}' is not accepted, or is labelled on some slices only; accept it "
    "first.",
    "dataset_images_missing": "The images of {count} cases are missing: {cases}; such as {path}. Put them back, or "
    "leave these cases out.",
    "dataset_label_nowhere": "Segment '{segment}' is in no case; remove it, or add a case that shows it.",
    "dataset_label_missing": "Segment '{segment}' is in nearly all cases, but not in: {cases}.",
    "dataset_spacing": "Case {case}: its spacing of {spacing} mm is far from that of the others ({typical} mm).",
    "dataset_volume": "Case {case}: {found} ml of '{segment}' are far from the others (typically {typical} ml).",
    "dataset_sides_named": "Case {case}: '{first}' lies to the right of '{second}'; left and right may be swapped.",
    "dataset_sides_differ": "Case {case}: '{first}' and '{second}' are swapped between left and right, compared with "
    "most cases.",
    "dataset_one_patient": "All {count} cases are of one patient, so none is held out for validation. If they are of "
    "different patients, correct the column 'patient' of cases.csv and status.csv.",
    "dataset_same_image": "These cases have the same image: {cases}.",
    "dataset_nnunet_name": "nnU-Net does not take '{segment}' for a segment; give it another name, or choose another "
    "format.",
    "dataset_bids_suffix": "BIDS needs to know the kind of image, and '{suffix}' is none; one of: {known}.",
    "task_untrained": "Task '{name}' has no trained model; train it first.",
    "task_model_segments": "Model {number} of task '{name}' was trained on other segments ({other}) than the task "
    "has now ({known}); train it again.",
    "library_file": "{path}: this is no task as `task export` writes it; export it again.",
    "library_file_there": "{path}: it is there already; choose another name.",
    "scheduler_unreachable": "{address}: no dask scheduler answers there ({detail}); start one, or give the right "
    "address.",
    "scheduler_lost": "The dask scheduler no longer answers; start it again and continue the batch.",
    "scheduler_workers": "{address}: its workers do not have this version of fewshot-annotate ({detail}); "
    "install it for them.",
    "status_unreadable": "{path}: this is no table of cases as a batch writes it; correct it or move it away.",
    "status_row": "the row of case '{name}' cannot be read: status is done, failed, skipped or running, seconds "
    "a number, accepted yes or no; correct it.",
    "case_corrected": "A person corrected this result, so it was kept; to fill the case again, move its folder away.",
    "model_missing": "{path}: there is no trained model in it; train the task first.",
    "model_damaged": "{path}: the trained model cannot be read ({detail}); train the task again.",
    "model_labels_differ": "{path}: the model was trained on {found} segments and the task has {wanted}; "
    "train the task again.",
    "model_not_given": "Engine {engine} needs a task with a trained model; name the task.",
    "training_no_examples": "The task has no labelled examples; add some before training.",
    "training_other_budget": "The interrupted training had a time limit of {earlier:g} s; with {seconds:g} s "
    "training begins anew.",
    "training_grids_differ": "Example {number}: image and labels differ in size; add the example again.",
    "training_label_unknown": "Example {number}: it holds label {label}, and the task has {labels} "
    "segments; correct the labels or the task.",
    "training_label_missing": "Segment {label} of the task is on no labelled slice of any example; add "
    "an example that shows it, or remove the segment.",
}
