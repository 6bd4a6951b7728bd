"""Out of the house: label maps as DICOM SEG, NIfTI, NRRD or .seg.nrrd, each read back and compared."""
