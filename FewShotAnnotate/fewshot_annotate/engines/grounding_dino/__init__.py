"""Engine `grounding-dino`: structures are found by their name, then outlined."""
