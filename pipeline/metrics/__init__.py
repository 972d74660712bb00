"""Scores, intervals, calibration and significance tests, without torch."""
