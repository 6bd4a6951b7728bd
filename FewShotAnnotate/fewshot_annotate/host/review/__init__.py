"""Review of filled slices: statuses, overlays of changes and uncertainty, and the plot of confidence."""
