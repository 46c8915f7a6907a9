"""Particle sets with a known truth: from volumes, atomic models, or a built-in hinge."""
