"""Poses found from images alone, by comparison with a reference that is made on the way."""
