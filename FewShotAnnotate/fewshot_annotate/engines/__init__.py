"""Engines: each fills query slices from labelled ones. A folder each, by family; `registry` knows them by name."""
