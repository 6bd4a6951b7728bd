"""Which slices of a segmentation are painted, filled, accepted or flagged."""
