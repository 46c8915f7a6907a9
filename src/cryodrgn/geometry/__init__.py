"""Rotations, grids of rotations, and the angles of RELION and cryoSPARC.

A rotation matrix takes column vectors (x, y, z) from the frame of the volume to the frame
of the image; its third row is the viewing direction in the frame of the volume.
"""
