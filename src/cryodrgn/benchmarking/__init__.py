"""Measurements of speed on this machine, and the share of its peak that the program reaches."""
