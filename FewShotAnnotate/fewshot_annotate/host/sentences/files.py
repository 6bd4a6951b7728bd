"""Sentences about images, labels and other files that are read or written."""

from __future__ import annotations

from collections.abc import Mapping

from ..i18n import tr as _


def files_sentences() -> Mapping[str, str]:
    """Code -> sentence, in the language of the application."""
    return {
        "file_missing": _("{path}: no such file or folder; check the name."),
        "file_unreadable": _("{path}: cannot be read as an image ({detail}); check that the file is complete."),
        "file_is_folder": _("{path}: this is a folder; give a file."),
        "file_not_regular": _("{path}: this is a pipe or a device; give a file."),
        "path_unreachable": _("{path}: cannot be reached ({detail}); check the name and the rights to its folder."),
        "file_empty": _("{path}: the file is empty; export or copy it again."),
        "file_truncated": _("{path}: the file ends too early ({detail}); export or copy it again."),
        "image_too_large": _(
            "{path}: the image needs more memory than this computer has; crop it or make it coarser."
        ),
        "geometry_impossible": _(
            "{path}: the header gives no valid spacing, position and directions; write the file again with "
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
        "series_doubled": _(
            "{path}: {first} and {second} lie at the same position; keep one slice for each position."
        ),
        "sidecar_unreadable": _("{path}: the list of label names cannot be read; correct it or move it away."),
        "label_listed_twice": _("{path}: the list of label names has '{entry}' twice; keep one of them."),
        "label_nameless": _("{path}: label value {value} has an empty name; give it one."),
        "label_name_unusable": _(
            "{path}: the name of label value {value} has more than {most} characters, or holds line breaks, control "
            "characters or direction overrides; give it another one."
        ),
        "not_3d": _("{path}: the image has {dimension} dimensions; give one 3D volume."),
        "no_voxels": _("{path}: it holds {found} voxels, which is none; give one 3D volume."),
        "not_scalar": _("{path}: the image has {components} values per voxel; give a single-channel volume."),
        "volume_nan": _("{path}: voxels that are not finite numbers: {count}; replace them before labelling."),
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
        "crossing_axes": _(
            "{path}: labels are painted on slices of axis {axis} and of axis {other} (slice {index}); keep the "
            "painted slices of one axis."
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
        "output_folder_absent": _(
            "{path}: its folder does not exist or was deleted; the finished result is kept in {kept}: move it from "
            "there."
        ),
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
        "number_invalid": _("'{text}' is no number of {what}; give a whole number from {least} to {most}."),
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
        "no_segmentation": _(
            "{path}: no DICOM segmentation lies in this folder itself; give the file of the labels."
        ),
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
        "series_patients": _(
            "{path}: the series mixes patients, studies or frames of reference, {what} differs in {count} of {total} "
            "files ({first}); move them to a folder of their own."
        ),
        "series_sizes": _("{path}: the slices differ in {what} ({first}); keep those of one series."),
        "series_is_file": _(
            "{path}: this file holds no DICOM series; name the folder of a series, or a multi-frame file."
        ),
        "series_gap": _("{path}: slices are missing ({missing}); copy them from the archive."),
        "labels_off_grid": _(
            "{path}: the labels lie on another grid than the image ({what} {found} instead of {expected}{off}); "
            "give the label map that belongs to this image, or agree to resample it."
        ),
        "of_another_patient": _(
            "{path}: its Patient ID differs from that of the images; make sure that both are of the same patient."
        ),
        "of_another_frame": _(
            "{path}: its Frame of Reference UID differs from that of the images, so positions may not correspond; "
            "make sure that structures lie at the same place in both."
        ),
        "channel_shape": _(
            "{path}: the array has {found} voxels and the volume {expected}; give an image with a position."
        ),
        "labels_shape": _("The labels have {found} voxels and the volume has {expected}; give both on one grid."),
        "labels_outside": _("{path}: {count} labelled voxels lie outside the images; agree to crop them."),
        "sform_sheared": _(
            "{path}: the axes of its sform are not at right angles, which ITK and Slicer do not support; the "
            "volume is read with orthogonal axes, which moves voxels by up to {voxels} voxels. NIfTI output keeps "
            "the header of the image and matches it voxel by voxel; other formats store the orthogonal axes."
        ),
        "axes_sheared": _(
            "{path}: its axes are not at right angles. NIfTI output stores them in its sform, which nibabel "
            "reads; ITK and Slicer read orthogonal axes instead, which moves voxels by up to {voxels} voxels. All "
            "programs read them from NRRD and MetaImage output."
        ),
        "occupancies_as_labels": _(
            "{path}: the segmentation holds fractions (occupancy); voxels of {least} of {most} or more are labelled."
        ),
        "probabilities_as_labels": _(
            "{path}: the segmentation holds fractions (probability); voxels of {least} of {most} or more are "
            "labelled."
        ),
        "labels_regridded": _("{path}: the labels were put on the image's grid{how}: {done}{lost}."),
        "dicom_packages_missing": _(
            "DICOM needs the Python package {package}, which Slicer has from 5.12 on; update Slicer."
        ),
        "package_missing": _(
            "The Python package {package} is missing; press Fill to install it, or install it in Slicer's Python "
            "console."
        ),
    }
