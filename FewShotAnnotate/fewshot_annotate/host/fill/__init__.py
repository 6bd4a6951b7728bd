"""A fill in Slicer, from the painted slices to the commit."""
