"""Images on their way from the disk into a computation."""
