"""Review of a result, and suggestion of the next slice to paint."""
