"""Export of label maps as DICOM SEG, NIfTI, NRRD or .seg.nrrd, with verification by reading back."""
