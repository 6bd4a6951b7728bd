"""Engines on the Segment Anything Model: SAM, MedSAM, PerSAM."""
