"""File formats: STAR, cryoSPARC, MRC, pickles, config files and checkpoints.

Units and conventions of other programs are converted here and nowhere else.
"""
