"""Networks: an encoder of images, a decoder of frequencies, and the two together.

Modules know nothing of files, options or pictures. The names of their parameters are those of
cryoDRGN's weight files.
"""
