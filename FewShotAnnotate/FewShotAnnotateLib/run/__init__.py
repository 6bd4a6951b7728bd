"""The background process, seen from both ends of the job folder."""
