"""Faults for tests: signals, kills and full disks at chosen points of real commands, see `Testing/faults.py`."""
