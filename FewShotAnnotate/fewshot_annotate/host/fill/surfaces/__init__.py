"""Closed surfaces of filled segments, made in a separate process so that the application never waits for them."""
