"""Data sets in Slicer: cases are reviewed, filled in the background, and train their task."""
