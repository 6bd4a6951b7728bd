"""Reports of comparisons and studies: HTML pages, plots and CSV tables."""
