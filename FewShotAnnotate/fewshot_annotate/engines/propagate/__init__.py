"""Engine `propagate`: labels carried from slice to slice by optical flow and shape interpolation. No download."""
