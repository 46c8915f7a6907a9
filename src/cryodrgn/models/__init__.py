"""Encoders of images, decoders of volumes, and their registry.

Nothing here reads files, options or draws. Parameters have the names of cryoDRGN's weight
files.
"""
