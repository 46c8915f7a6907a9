"""The forward model of an image: slice of a volume's transform, CTF, windows and masks."""
