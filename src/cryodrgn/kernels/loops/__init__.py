"""Loops that numba compiles where it is installed; plain Python, and slow, elsewhere."""
