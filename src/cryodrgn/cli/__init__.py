"""The command line, made from the settings of :mod:`cryodrgn.jobs`."""
