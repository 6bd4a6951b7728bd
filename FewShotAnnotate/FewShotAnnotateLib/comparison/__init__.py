"""Which engine fills a user's own slices best: labelled slices are held out and filled from the others."""
