"""The programs ``cryodrgn`` and ``cryodrgn_utils``: parsers made from the settings of jobs."""
