"""The command line: one file per command in :mod:`cryodrgn.cli.commands`."""
