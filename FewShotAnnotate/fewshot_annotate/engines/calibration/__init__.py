"""Calibration of probabilities and the expected Dice, for `propagate` and `adapt`."""
