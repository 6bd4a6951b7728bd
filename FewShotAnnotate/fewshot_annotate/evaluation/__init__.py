"""Comparison of engines: labelled slices are held out and filled from the others."""
