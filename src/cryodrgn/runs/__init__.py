"""Finished runs, as objects one can ask."""
