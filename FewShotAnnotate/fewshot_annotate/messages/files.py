"""Sentences about images, labels and other files that are read or written."""

from __future__ import annotations

FILES = {
    "file_missing": "{path}: no such file or folder; check the name.",
    "file_unreadable": "{path}: cannot be read as an image ({detail}); check that the file is complete.",
    "file_is_folder": "{path}: this is a folder; give a file.",
    "file_not_regular": "{path}: this is a pipe or a device; give a file.",
    "path_unreachable": "{path}: cannot be reached ({detail}); check the name and the rights to its folder.",
    "file_empty": "{path}: the file is empty; export or copy it again.",
    "file_truncated": "{path}: the file ends too early ({detail}); export or copy it again.",
    "image_too_large": "{path}: the image needs more memory than this computer has; crop it or make it coarser.",
    "geometry_impossible": "{path}: the header gives no valid spacing, position and directions; write the "
    "file again with the program that made it.",
    "partner_missing": "{path}: the file {partner}, which holds its voxels, is not beside it; copy it there.",
    "nibabel_missing": "{path}: reading FreeSurfer's format needs the Python package nibabel; convert the file "
    "(mri_convert IN.mgz OUT.nii.gz) or install it with: {install}",
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
    "series_doubled": "{path}: {first} and {second} lie at the same position; keep one slice for each position.",
    "sidecar_unreadable": "{path}: the list of label names cannot be read; correct it or move it away.",
    "label_listed_twice": "{path}: the list of label names has '{entry}' twice; keep one of them.",
    "label_nameless": "{path}: label value {value} has an empty name; give it one.",
    "label_name_unusable": "{path}: the name of label value {value} has more than {most} characters, or holds line "
    "breaks, control characters or direction overrides; give it another one.",
    "channel_shape": "{path}: the array has {found} voxels and the volume {expected}; give an image with a position.",
    "not_3d": "{path}: the image has {dimension} dimensions; give one 3D volume.",
    "no_voxels": "{path}: it holds {found} voxels, which is none; give one 3D volume.",
    "not_scalar": "{path}: the image has {components} values per voxel; give a single-channel volume.",
    "volume_nan": "{path}: voxels that are not finite numbers: {count}; replace them before labelling.",
    "volume_constant": "{path}: every voxel has the same value ({value:g}); this is no image to label.",
    "label_not_integer": "{path}: label values must be whole numbers, found {value:g}; save it as a label map.",
    "label_out_of_range": "{path}: label value {value} is outside 0..65535; renumber the labels.",
    "axis_out_of_range": "Axis {axis} does not exist; choose 0, 1 or 2 (array order: slices, rows, columns), or "
    "axial, coronal or sagittal.",
    "axis_unclear": "{path}: the labels do not show along which axis slices were painted; choose one of {planes}.",
    "plane_oblique": "The volume is tilted too far to tell which of its axes has {plane} slices; choose axis 0, 1 or "
    "2 (array order: slices, rows, columns).",
    "slice_out_of_range": "Slice {index} does not exist along axis {axis}; slices run from 0 to {last}.",
    "crossing_axes": "{path}: labels are painted on slices of axis {axis} and of axis {other} (slice {index}); "
    "keep the painted slices of one axis.",
    "layers_overlap": "{path}: the segments overlap and {suffix} keeps one label per voxel; use a name that ends "
    "in .seg.nrrd.",
    "output_is_input": "{path}: the output would replace the input; choose another name.",
    "output_unwritable": "{path}: cannot be written ({detail}); choose another folder or free some room.",
    "output_kept_elsewhere": "{path}: cannot be written ({detail}); the finished result is kept in {kept}: free "
    "some room and move it from there.",
    "output_folder_absent": "{path}: its folder does not exist or was deleted; the finished result is kept in "
    "{kept}: move it from there.",
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
    "series_patients": "{path}: the series mixes patients, studies or frames of reference, {what} differs in "
    "{count} of {total} files ({first}); move them to a folder of their own.",
    "series_sizes": "{path}: the slices differ in {what} ({first}); keep those of one series.",
    "series_is_file": "{path}: this file holds no DICOM series; name the folder of a series, or a multi-frame file.",
    "series_gap": "{path}: slices are missing ({missing}); copy them from the archive.",
    "labels_off_grid": "{path}: the labels lie on another grid than the image ({what} {found} instead of "
    "{expected}{off}); give the label map that belongs to this image, or agree to resample it.",
    "of_another_patient": "{path}: its Patient ID differs from that of the images; make sure that both are of "
    "the same patient.",
    "of_another_frame": "{path}: its Frame of Reference UID differs from that of the images, so positions may "
    "not correspond; make sure that structures lie at the same place in both.",
    "labels_shape": "The labels have {found} voxels and the volume has {expected}; give both on one grid.",
    "labels_outside": "{path}: {count} labelled voxels lie outside the images; agree to crop them.",
    "sform_sheared": "{path}: the axes of its sform are not at right angles, which ITK and Slicer do not support; "
    "the volume is read with orthogonal axes, which moves voxels by up to {voxels} voxels. NIfTI output keeps the "
    "header of the image and matches it voxel by voxel; other formats store the orthogonal axes.",
    "axes_sheared": "{path}: its axes are not at right angles. NIfTI output stores them in its sform, which nibabel "
    "reads; ITK and Slicer read orthogonal axes instead, which moves voxels by up to {voxels} voxels. All "
    "programs read them from NRRD and MetaImage output.",
    "occupancies_as_labels": "{path}: the segmentation holds fractions (occupancy); voxels of {least} of {most} or "
    "more are labelled.",
    "probabilities_as_labels": "{path}: the segmentation holds fractions (probability); voxels of {least} of {most} "
    "or more are labelled.",
    "labels_on_other_slices": "Labels on slices that were not named as labelled are not in the result: {slices}.",
    "labels_regridded": "{path}: the labels were put on the image's grid{how}: {done}{lost}.",
    "output_exists": "{path}: it is there already; choose another name, or agree to overwrite it.",
    "package_missing": "The package {package} is missing; install it with: {install}",
}
