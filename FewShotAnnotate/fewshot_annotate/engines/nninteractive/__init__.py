"""Engine `nninteractive`."""
