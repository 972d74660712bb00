"""Faults done to featstore on purpose, counted by what came of them.

``python -m tests.faults --kills 200 --rot 500 --videos 500 --fuzz 2000`` prints the table of
docs/reliability.md. Every trial has a number of its own; ``--only 'bit rot' --trial 17`` does one
again and prints all about it.
"""
