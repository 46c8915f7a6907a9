"""Volumes and latents from data and models, without training them."""
