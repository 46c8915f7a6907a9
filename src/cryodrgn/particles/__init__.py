"""Particle sets: particles, and the images that show them, with poses, CTF, dose and tilt.

A particle has one image or several (a tilt series); tables hold one row per image. Arrays are
numpy, lengths Å, angles radians.
"""
