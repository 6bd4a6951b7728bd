"""FewShotAnnotate without Slicer: labelled slices and a volume in, a filled segmentation out."""

__version__ = "0.1.0"
