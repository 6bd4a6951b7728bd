"""Sentences of the panel for errors, warnings and refusals, by what they are about."""
