"""Reading and writing of MRML nodes and views."""
