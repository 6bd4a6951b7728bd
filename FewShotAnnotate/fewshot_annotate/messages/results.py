"""Sentences about comparisons and exports."""

from __future__ import annotations

RESULTS = {
    "no_engine_finished": "No engine finished: {reasons}.",
    "engine_and_reason": "{engine}: {reason}",
    "comparison_can_be_repeated": "compare again, with fewer engines or smaller sizes where memory is short",
    "series_one_slice": "{path}: the folder holds one slice only; give the whole series.",
    "series_frames": "{path}: {first} does not name its study, patient position or frame of reference ({what}); "
    "export the series again.",
    "series_gap_labels": "{path}: slices are missing ({missing}), and {count} labelled voxels lie on them; copy "
    "the slices from the archive, or agree to leave them out.",
    "reference_missing": "{path}: a DICOM segmentation belongs to a DICOM series; name the folder of its images, "
    "or agree to derive a series from the volume.",
    "export_differs": "{path}: what was read back differs from what was written ({detail}); nothing was kept.",
    "labels_upright": "{path}: the labels lie on upright slices, those of the series are tilted by {angle:.1f} "
    "degrees; say whether they match slice by slice or are to be resampled.",
    "labels_empty": "{path}: there is no labelled voxel to export; fill or paint something first.",
    "labels_changed": "Names that DICOM cannot hold are written otherwise: {segments}.",
    "folder_not_empty": "{path}: the folder is not empty; choose a new one.",
    "segments_empty": "Segments without a voxel are left out: {segments}.",
    "export_overlap": "{path}: segments overlap and this format keeps one label per voxel; choose another format.",
    "codes_missing": "Segments without a code, with a suggestion for each: {segments}.",
    "codes_suggested": "Codes suggested by name: {segments}.",
    "codes_unknown": "Segments without a code, of an unknown name: {segments}; say what they are.",
    "codes_generic": "Segments coded as plain tissue: {segments}; their names suggest better codes.",
    "dicom_packages_missing": "DICOM needs the Python package {package}, which Slicer has from 5.12 on; "
    "elsewhere install it with: {install}",
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
    "comparison_folder_used": "{path}: it is there already and is not an empty folder; choose a new one, or "
    "continue its comparison.",
}
