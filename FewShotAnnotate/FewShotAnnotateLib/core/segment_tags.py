"""Names of the segment tags that are read from files and written to them."""

from __future__ import annotations

# Slicer's own: what a segment is, and what made it.
TERMINOLOGY_TAG = "TerminologyEntry"
TYPE_TAG = "DICOM.SegmentAlgorithmType"
NAME_TAG = "DICOM.SegmentAlgorithmName"
# Ours.
VERSION_TAG = "FewShotAnnotate.AlgorithmVersion"
WEIGHTS_TAG = "FewShotAnnotate.Weights"
