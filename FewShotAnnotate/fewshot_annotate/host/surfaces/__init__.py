"""Closed surfaces of filled segments, made by a process of their own so that the application never waits for them."""
