"""The nouns: volume, label map, slice axis, support, job. No torch, no Qt, no Slicer."""
