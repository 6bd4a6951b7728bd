"""Common parts of the engines with pretrained weights."""
