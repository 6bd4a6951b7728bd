"""Sentences about the scene, and why a control of the panel cannot be used now."""

from __future__ import annotations

from collections.abc import Mapping

from ..i18n import tr as _


def panel_sentences() -> Mapping[str, str]:
    """Code -> sentence, in the language of the application."""
    return {
        "review_nothing": _("No case is shown; choose one from the table first."),
        "review_image_removed": _(
            "The image of case '{name}' is no longer in the scene; click the case to load it again."
        ),
        "review_unlabelled": _("Nothing is labelled in case '{name}'; label or fill it first."),
        "case_in_review": _("Case '{name}' is being reviewed by {reviewer}; choose another one."),
        "case_unknown": _("{path}: this data set has no case '{name}'; press Refresh."),
        "case_other_labels": _(
            "{path}: this file was saved later than {label}, the result of the case, and is not used; save the "
            "corrected labels as {label}, or move the file elsewhere."
        ),
        "case_unrecorded": _("{path}: it does not say which image the case is of; run the batch again with it."),
        "task_changed": _("Task '{name}' was changed by somebody else meanwhile; nothing was added, try again."),
        "task_full": _("Task '{name}' holds {most} examples or models, and no more fit; begin another one."),
        "task_model_unusable": _("Model {number} of task '{name}' cannot be read; training does not start from it."),
        "task_in_training": _("Task '{name}' is being trained by another process; wait for it or stop it first."),
        "task_label_nowhere": _(
            "Segment '{segment}' is on no example of task '{name}'; accept a case that shows it."
        ),
        "task_no_example": _("Task '{name}' has no example {number}; it has: {known}."),
        "task_no_labels": _("{path}: nothing is labelled; an example needs labels."),
        "task_plane": _(
            "{path}: its labelled slices along axis {axis} are {other}, those of task '{name}' {plane}; label slices "
            "of the same plane, or the whole volume."
        ),
        "task_without_examples": _("Task '{name}' has no labelled examples; accept some cases before it is trained."),
        "no_volumes": _("{path}: no volume was found there; choose a folder with NIfTI, NRRD or DICOM files."),
        "no_volumes_but_labels": _(
            "{path}: all {count} image files there, or their folders, are named as label maps, such as {file}; "
            "rename them, or choose another folder."
        ),
        "dataset_settings": _("{path}: it does not say which task it belongs to; choose the task again."),
        "dataset_no_task": _("Choose a task first."),
        "dataset_untrained": _("The task has no model yet; train it on accepted cases first."),
        "dataset_all_filled": _("No case waits to be filled."),
        "filling_can_be_continued": _("filled cases are kept; press Fill cases to go on"),
        "training_can_be_continued": _("press Train on accepted cases to go on where it ended"),
        "review_busy": _("A case is being read or written; wait for it."),
        "poor_dice": _("Check every slice of {segment}: its expected Dice is only {dice}."),
        "poor_dice_and_slice": _(
            "Check every slice of {segment}: its expected Dice is only {dice}. Labelling slice {slice} helps most."
        ),
        "review_not_done": _("Case '{name}' has no result to review; choose one that is done."),
        "review_overlap": _(
            "Segment '{segment}' overlaps another one and label.nii.gz keeps one label per voxel; remove the "
            "overlap first."
        ),
        "review_off_grid": _(
            "Segmentation '{name}' lies on another grid than the image of its case, or outside it; choose that "
            "image as its source geometry in the Segment Editor."
        ),
        "review_running": _("Case '{name}' is just being filled; nothing was written. Wait for its result."),
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
        "volume_elsewhere": _(
            "Volume '{name}' covers nothing of segmentation '{segmentation}'; choose the volume that it belongs to."
        ),
        "volume_moved": _(
            "Spacing, position or size of volume '{name}' relative to the segmentation changed during the run; "
            "nothing was filled."
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
        "run_not_left": _("The unfinished run is no longer there, or another window works on it; fill again."),
        "run_volume_missing": _("The volume of the unfinished run is not in the scene; load it and choose it."),
        "host_memory": _("There is not enough memory to prepare this volume; crop it first (Crop Volume module)."),
        "segmentation_gone": _("The segmentation was removed during the run; nothing was filled."),
        "volume_gone": _("The volume was removed during the run; nothing was filled."),
        "grid_changed": _("The geometry of segmentation '{name}' changed during the run; nothing was filled."),
        "pytorch_extension_missing": _(
            "This engine needs PyTorch; install the extension PyTorch (Extensions Manager), restart Slicer and "
            "try again."
        ),
        "install_failed": _("{packages}: could not be installed ({detail}); see Slicer's Python console."),
        "database_missing": _("There is no DICOM database; open one in the DICOM module, or choose a file."),
        "database_incomplete": _(
            "Volume '{name}': {gone} of its {count} DICOM slices are no longer in the database; import them "
            "again, or name their folder."
        ),
        "database_refused": _(
            "{path}: the DICOM database did not accept the file; check module DICOM, or choose a file."
        ),
        "worker_silent": _("The worker's Python did not answer ({detail}); restart Slicer and try again."),
        "volume_not_chosen": _("Choose a volume first."),
        "segmentation_not_chosen": _("Choose or create a segmentation first."),
        "nodes_not_chosen": _("Choose a volume and a segmentation first."),
        "run_under_way": _("Wait for the run to end, or cancel it."),
        "slices_being_kept": _("The finished slices are being kept."),
        "no_slice_finished": _("No slice is finished yet."),
        "segmentation_being_read": _("Reading the segmentation ..."),
        "too_few_painted": _("Paint at least two slices first."),
        "one_painted": _("Paint one more slice: there are no slices between yet."),
        "none_between": _(
            "There is no slice to fill: paint at least two slices of a segment with others between them."
        ),
        "nothing_running": _("Nothing is running."),
        "no_interrupted_run": _("No run was interrupted."),
        "no_labelled_before": _("No slice before this one is labelled."),
        "no_labelled_after": _("No slice after this one is labelled."),
        "labelled_already": _("This slice counts as labelled already."),
        "suggesting_already": _("Already looking."),
        "none_painted": _("Paint a first slice: wherever the structure is seen best."),
        "all_labelled": _("Every slice is labelled."),
        "segment_locked": _("Locked: it is not filled and never changed."),
        "segment_hidden": _("Hidden: it is not filled. Show it in the segment list of the Segment Editor first."),
        "segments_left_out": _("What is painted belongs to locked or hidden segments; unlock or show one first."),
        "nothing_to_review": _("Fill first: what was filled is reviewed here."),
        "no_slice_selected": _("Select slices in the table first."),
        "accepting_slices": _("Wait a moment: slices are being accepted."),
        "all_reviewed": _("No slice is left to review."),
        "none_in_progress": _("No slice is in progress."),
        "no_segment_clicked": _("Click a segment in the table first."),
        "example_unavailable": _(
            "The example cannot be downloaded; check the connection, or load a volume of your own."
        ),
        "uncertainty_gone": _("The uncertainty is known only until the scene is closed; fill again to see it."),
        "differences_gone": _("The changes of the last fill are known only until the scene is closed."),
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
        "engines_being_read": _("Finding out which engines can run here ..."),
        "no_engine_ticked": _("Tick an engine first."),
        "files_busy": _("Wait for the files to be read or written."),
        "no_batch_open": _("Open a data set first."),
        "batch_folder_not_chosen": _("Choose a folder first."),
        "no_case_clicked": _("Click a case first."),
        "case_accepted_already": _("It is accepted already."),
        "no_other_case": _("No other case waits for its review."),
        "case_neither": _("It is neither accepted nor flagged."),
        "next_expected": _("its expected Dice is lower than that of most others ({dice})."),
        "next_undecided": _(
            "the networks are undecided about more of its labelled voxels than of most others ({share})."
        ),
        "next_distant": _(
            "it differs more than most others from the labelled cases ({distance} standard deviations)."
        ),
        "next_usual": _("nothing sets it apart from the others."),
        "case_not_filled": _("It has no result yet; accept it first."),
        "case_flagged_already": _("It is flagged already."),
        "images_not_chosen": _("Choose a folder of volumes first."),
        "task_not_named": _("Choose a task, or type the name of a new one."),
        "no_weights_downloaded": _("No weights were downloaded."),
        "usual_folder": _("This is the default folder."),
        "segmentation_named": _("Segmentation '{name}'"),
        "no_licence_clicked": _("Click a licence first."),
        "details_being_gathered": _("The details are being gathered."),
    }
