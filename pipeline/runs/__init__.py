"""Run folders: write, read, register and compare them."""
