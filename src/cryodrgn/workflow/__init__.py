"""Analyses and reports made of several steps: check, analysis, landscape, nuisance, demo.

Jobs call these; each writes its results into one folder.
"""
