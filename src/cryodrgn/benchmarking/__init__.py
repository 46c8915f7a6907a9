"""Measurements of speed on this machine, beside the rate of its matrix products."""
