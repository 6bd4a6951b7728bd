"""Engines, which fill query slices from labelled ones: a folder for each family, and a `registry` by name."""
