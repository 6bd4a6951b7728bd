"""Runs: planned, filled slice by slice by a worker process, and kept in a run folder."""
