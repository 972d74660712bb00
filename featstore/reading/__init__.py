"""Stores in memory: one, several joined as one, batches and torch datasets."""
