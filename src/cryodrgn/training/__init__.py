"""Training: settings, losses, the loop, and what a run writes."""
