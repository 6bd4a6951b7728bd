"""Reading of DICOM images and segmentations."""
