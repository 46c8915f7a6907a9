"""Training of networks: settings, loss, optimisation loop, checkpoints, held-out evaluation."""
