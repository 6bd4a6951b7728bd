"""Engine `propagate`: labels propagated from slice to slice by optical flow and shape interpolation. No download."""
