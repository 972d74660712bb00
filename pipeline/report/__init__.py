"""Figures and words about runs."""
