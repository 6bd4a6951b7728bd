"""The engines whose weights somebody published, and those weights: described, fetched, checked, loaded."""
