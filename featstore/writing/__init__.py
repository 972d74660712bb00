"""Stores in the making: units, locks, staging folders and destinations."""
