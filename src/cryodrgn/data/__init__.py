"""Preprocessing, storage and batches of particle images.

Images are windowed, Fourier transformed, cropped, normalised and shifted once, kept in memory
or in a file, and read in batches of particles; stacks are downsampled and edited here, too.
"""
