"""Engines compared on the painted slices of a segmentation."""
