"""One module for each tool of ``cryodrgn_utils``."""
