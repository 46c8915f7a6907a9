"""The ``cryodrgn`` command: finds the subcommand, runs it, and turns errors into one line."""

import argparse
import importlib
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

import cryodrgn
from cryodrgn.errors import CryodrgnError

COMMANDS = {
    "downsample": "Downsample an image stack or volume by clipping Fourier frequencies",
    "parse_pose_star": "Parse image poses from a RELION .star file",
    "parse_pose_csparc": "Parse image poses from a cryoSPARC .cs file",
    "parse_ctf_star": "Parse CTF parameters from a RELION .star file",
    "parse_ctf_csparc": "Parse CTF parameters from a cryoSPARC .cs file",
    "backproject_voxel": "Backproject images onto a voxel grid to check poses and CTF",
    "train_vae": "Train a VAE for heterogeneous reconstruction with known pose",
    "train_nn": "Train a neural net to model a 3D EM density map",
    "train_dec": "Train a decoder with a free latent for every particle (auto-decoder)",
    "train_linear": "Find the components of heterogeneity by a linear model, in seconds",
    "reconstruct_states": "Reconstruct states of any latent from the images, with half maps",
    "conformational_density": "Estimate how many particles are in which conformation",
    "eval_images": "Evaluate the latents and losses of images under a trained model",
    "eval_vol": "Generate volumes from a trained model",
    "analyze": "Look at a run: volumes, plots, a page, a notebook",
    "analyze_landscape": "Compare volumes of a run: their components and states",
    "analyze_landscape_full": "Map every particle into the landscape of volumes",
    "pc_traversal": "Points of the latent space along its principal components",
    "direct_traversal": "Points of the latent space on straight lines between particles",
    "graph_traversal": "Points of the latent space along neighbouring particles",
    "simulate": "Simulate a particle set from volumes, atomic models or a built-in molecule",
    "demo": "Show the whole way on simulated particles, from the stack to a moving molecule",
}
# Names under which the documentation of 0.2.0 runs the same commands as scripts.
ALIASES = {"eval_decoder": "eval_vol", "get_z_pcs": "pc_traversal"}

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

logger = logging.getLogger(__name__)


class CommandParser(argparse.ArgumentParser):
    """A parser that also takes numbers such as ``-1e-3`` for values, not for options."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


def load_command(name: str) -> ModuleType:
    """The module of a command, imported when it is needed."""
    return importlib.import_module(f"cryodrgn.cli.commands.{ALIASES.get(name, name)}")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Build the command-line parser.

    Args:
        only: Fill in the options of this command alone; None fills in all of them.
    """
    parser = CommandParser(prog="cryodrgn", description=cryodrgn.__doc__)
    parser.add_argument(
        "--version", action="version", version=f"cryoDRGN {cryodrgn.__version__}"
    )
    subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=CommandParser
    )
    summaries = COMMANDS | {alias: f"The same as {name}" for alias, name in ALIASES.items()}
    for name, summary in summaries.items():
        described = COMMANDS.get(ALIASES.get(name, name))
        subparser = subparsers.add_parser(name, help=summary, description=described)
        if only in {None, name}:
            load_command(name).add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0 on success, 2 after a user's mistake, 130 after an interrupt.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in arguments if not word.startswith("-")), "")
    args = build_parser(only=command).parse_args(arguments)
    args.given = _given(arguments, command)
    _configure_logging()
    try:
        load_command(args.command).run(args)
    except CryodrgnError as error:
        sys.stderr.write(f"cryodrgn {args.command}: {error}\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"cryodrgn {args.command}: interrupted\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return 0


def _given(arguments: Sequence[str], command: str) -> frozenset[str]:
    """Names of the options that were typed, as opposed to those that have their default."""
    parser = build_parser(only=command)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for option in action.choices[command]._actions:
                option.default = argparse.SUPPRESS
                # A missing positional's default would be converted, and then be no default.
                option.type = option.choices = None
    return frozenset(vars(parser.parse_args(arguments)))


def _configure_logging() -> None:
    """What happens goes to standard output, warnings go to standard error."""
    plain = logging.Formatter("%(message)s")
    news = logging.StreamHandler(sys.stdout)
    news.addFilter(lambda record: record.levelno < logging.WARNING)
    news.setFormatter(plain)
    warnings = logging.StreamHandler(sys.stderr)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("warning: %(message)s"))
    package = logging.getLogger("cryodrgn")
    package.handlers[:] = [news, warnings]
    package.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
