"""Export of a segmentation of the scene, to files or the DICOM database."""
