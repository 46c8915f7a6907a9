"""Heterogeneous cryo-EM reconstruction: from particle images to a moving molecule."""

__version__ = "1.0.0.dev0"
