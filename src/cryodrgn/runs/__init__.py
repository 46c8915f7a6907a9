"""Finished runs: latents, volumes, poses and plots of a run's folder, see ``open_run``."""
