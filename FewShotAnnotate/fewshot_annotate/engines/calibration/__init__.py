"""Calibration of probabilities, and the expected Dice that follows from them; of `propagate` and `adapt`."""
