"""Parts of the panel: each file is one section of widgets, or what the sections do with widgets in the same way."""
