"""Image formation: projection slice, CTF, dose and tilt; likelihood and noise of images.

:mod:`~cryodrgn.imaging.likelihood` predicts an image from a slice of a volume's Fourier
transform; :mod:`~cryodrgn.imaging.likelihood` compares it with an observed one.
"""
