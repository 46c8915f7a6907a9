"""Pose search: initial model, branch and bound over rotations and shifts, pose alignment.

Images are compared with slices of a reference map, which is estimated along with their poses.
"""
