"""What helps to find the cause of a failure: unexpected errors, the log of the runs, the bug report."""
