"""Tables that travel together: image references, poses and CTF of a set of particles.

Every table holds one row per particle. Arrays are numpy, lengths Å, angles radians.
"""
