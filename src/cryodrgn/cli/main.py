"""The ``cryodrgn`` command: the table of its subcommands."""

import argparse
import sys
from collections.abc import Sequence

import cryodrgn
from cryodrgn.cli.program import Program

COMMANDS = {
    "downsample": "Downsample an image stack or volume by clipping Fourier frequencies",
    "parse_pose_star": "Parse image poses from a RELION .star file",
    "parse_pose_csparc": "Parse image poses from a cryoSPARC .cs file",
    "parse_ctf_star": "Parse CTF parameters from a RELION .star file",
    "parse_ctf_csparc": "Parse CTF parameters from a cryoSPARC .cs file",
    "run": "From a particle file to a report: check, train and analyze, with settings chosen",
    "check": "Check whether poses, CTF and sign of a particle file fit its images",
    "backproject_voxel": "Backproject images onto a voxel grid to check poses and CTF",
    "train_vae": "Train a VAE for heterogeneous reconstruction with known pose",
    "train_nn": "Train a neural net to model a 3D EM density map",
    "train_dec": "Train a decoder with a free latent for every particle (auto-decoder)",
    "abinit": "Find a structure and the poses of its images, from images and CTF alone",
    "abinit_homo": "The same for a single structure",
    "abinit_het": "The same for a structure that moves: poses, latents and volumes together",
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
    "benchmark": "Measure how fast this machine trains, prepares, reconstructs and decodes",
    "doctor": "Say what is installed, which limits hold, and what is wrong, for a bug report",
    "nuisance": "Say what a latent space follows besides structure: poses, contrast, optics",
    "select": "Choose particles by cluster, place in the latent space, lists, or chance",
    "export": "Write chosen particles back as a RELION .star or a cryoSPARC result group",
    "demo": "Show the whole way on simulated particles, from the stack to a moving molecule",
}
# Names under which the documentation of 0.2.0 runs the same commands as scripts, and under
# which 4.x keeps its older searches for poses.
ALIASES = {
    "eval_decoder": "eval_vol",
    "get_z_pcs": "pc_traversal",
    "abinit_homo_old": "abinit_homo",
    "abinit_het_old": "abinit_het",
}

CRYODRGN = Program(
    name="cryodrgn",
    description=cryodrgn.__doc__,
    package="cryodrgn.cli.commands",
    commands=COMMANDS,
    aliases=ALIASES,
)


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line, see :meth:`Program.build_parser`."""
    return CRYODRGN.build_parser(only)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its status, see :meth:`Program.run`."""
    return CRYODRGN.run(argv)


if __name__ == "__main__":
    sys.exit(main())
