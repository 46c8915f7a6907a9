"""Checks before a long computation: bad images, disk space, memory, expected time."""
