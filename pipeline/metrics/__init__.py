"""Scores, intervals, calibration and tests of differences; numpy alone."""
