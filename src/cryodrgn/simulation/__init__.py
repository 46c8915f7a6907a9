"""Simulated particle sets of volumes, atomic models, or a built-in hinged molecule."""
