"""Sentences about exports, comparisons, batches and the library."""

from __future__ import annotations

from collections.abc import Mapping

from ..i18n import tr as _


def results_sentences() -> Mapping[str, str]:
    """Code -> sentence, in the language of the application."""
    return {
        "no_engine_finished": _("No engine finished: {reasons}."),
        "engine_and_reason": _("{engine}: {reason}"),
        "comparison_can_be_repeated": _("compare again, with fewer engines or smaller sizes where memory is short"),
        "job_folder_unreadable": _("{path}: the job cannot be read ({detail}); start a new one."),
        "job_busy": _("{path}: another worker is still running on this job; wait for it or stop it first."),
        "case_name_twice": _(
            "case '{name}' is in row {row} already; give each case a name of its own (column name)."
        ),
        "case_name": _("'{name}' cannot name a case; use a plain folder name without / and \\ (column name)."),
        "pair_path": _("{path}: this path cannot stand in a table; rename the file or its folder."),
        "case_link": _("{path}: this is a link; a case's folder must lie in the output folder itself."),
        "batch_folder_used": _("{path}: it holds a batch already; choose a new folder, or continue that one."),
        "batch_folder_foreign": _("{path}: it holds other files and no batch; choose a new folder."),
        "not_a_folder": _("{path}: this is no folder; choose a folder."),
        "batch_busy": _("{path}: another batch runs in this folder; wait for it or stop it first."),
        "no_batch": _("{path}: no batch was written here; choose the folder with status.csv."),
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
        "library_unknown": _(
            "There is no task '{name}'; there are: {known}. Choose one, or type a name, and press Use task."
        ),
        "library_taken": _("There is a task '{name}' already; choose another name, or add to it."),
        "library_damaged": _("Task '{name}' is damaged ({file}); import or save it again."),
        "task_of_later_version": _(
            "Task '{name}' was written by a later version of this program; install that version."
        ),
        "task_example_damaged": _(
            "Example {number} of task '{name}' is damaged; remove it, and add its image and labels again."
        ),
        "task_unreadable": _("{path}: the task cannot be read now ({detail}); try again when that is solved."),
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
        "series_one_slice": _("{path}: the folder holds one slice only; give the whole series."),
        "series_frames": _(
            "{path}: {first} does not name its study, patient position or frame of reference ({what}); export "
            "the series again."
        ),
        "series_gap_labels": _(
            "{path}: slices are missing ({missing}), and {count} labelled voxels lie on them; copy the slices "
            "from the archive, or agree to leave them out."
        ),
        "reference_missing": _(
            "{path}: a DICOM segmentation belongs to a DICOM series; name the folder of its images, or agree to "
            "derive a series from the volume."
        ),
        "labels_upright": _(
            "{path}: the labels lie on upright slices, those of the series are tilted by {angle:.1f} degrees; "
            "say whether they match slice by slice or are to be resampled."
        ),
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
            "{path}: it is there already and is not an empty folder; choose a new one, or continue its comparison."
        ),
    }
