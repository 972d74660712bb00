"""Predict with a trained run on new recordings: decode, extract, slide windows, classify."""
