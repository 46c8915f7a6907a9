"""Validation of data and results: pose and CTF conventions, bad images, nuisance variables."""
