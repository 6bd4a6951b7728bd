"""Names of segment tags in .seg.nrrd files and Slicer segmentations."""

from __future__ import annotations

# Defined by Slicer: terminology of a segment, and the algorithm that made it.
TERMINOLOGY_TAG = "TerminologyEntry"
TYPE_TAG = "DICOM.SegmentAlgorithmType"
NAME_TAG = "DICOM.SegmentAlgorithmName"
# Defined by FewShotAnnotate.
VERSION_TAG = "FewShotAnnotate.AlgorithmVersion"
WEIGHTS_TAG = "FewShotAnnotate.Weights"
