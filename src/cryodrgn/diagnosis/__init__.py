"""Validation of data and results: conventions, junk images, nuisance variables."""
