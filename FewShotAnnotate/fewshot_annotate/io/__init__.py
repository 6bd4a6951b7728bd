"""Reading and writing of volumes, label maps and tables."""
