"""What several tests ask of the command line."""

import argparse

from cryodrgn.cli.main import build_parser


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command by name."""
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError
