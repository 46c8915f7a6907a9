"""What several tests ask of the command line."""

import argparse

from cryodrgn.cli.main import CRYODRGN, Program


def subparsers(program: Program = CRYODRGN) -> dict[str, argparse.ArgumentParser]:
    """The parser of every command by name."""
    for action in program.build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError
