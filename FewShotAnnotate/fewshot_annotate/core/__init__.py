"""Data types shared by all packages: volume, label map, slice axis, support, job. No torch, Qt or Slicer."""
