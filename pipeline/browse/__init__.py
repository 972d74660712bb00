"""A local page over a folder of stores and their runs."""
