"""Backprojection, decoding of volumes, encoding of images, alignment and FSC of maps.

Nothing is trained here.
"""
