"""Stores in a folder: list, compare, verify and remove them."""
