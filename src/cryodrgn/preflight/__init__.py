"""Checks before long work begins: images, room on disk, memory, expected time."""
