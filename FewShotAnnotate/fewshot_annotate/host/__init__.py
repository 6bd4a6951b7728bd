"""The Slicer side: MRML in, MRML out. The only folder that may import slicer."""
