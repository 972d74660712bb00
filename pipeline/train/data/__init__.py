"""Batches of features for a head: gathered, standardised and augmented."""
