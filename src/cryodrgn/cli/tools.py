"""The ``cryodrgn_utils`` command: small tools for scripts, one job each."""

import sys
from collections.abc import Sequence

from cryodrgn.cli.program import Program

TOOLS = {
    "add_noise": "Add white noise to a particle stack",
    "add_psize": "Write the pixel size into the header of a volume or stack",
    "align3d": "Align one volume to another",
    "align_poses": "Bring poses and their map into the frame of other poses, and compare them",
    "clean": "Delete the checkpoints of a training run that are not needed any more",
    "concat_pkls": "Join pickles of arrays or poses",
    "filter_cs": "Take some particles out of a cryoSPARC .cs file",
    "filter_mrcs": "Take some images out of a particle stack",
    "filter_pkl": "Take some rows out of a pickle of poses, CTF parameters or latents",
    "filter_star": "Take some particles out of a RELION .star file",
    "flip_hand": "Mirror a volume, which changes its hand",
    "fsc": "Fourier shell correlation of two volumes",
    "gen_mask": "Make a soft mask from a volume",
    "invert_contrast": "Change the sign of a volume or stack",
    "kmeans": "Divide particles into clusters of their latents",
    "phase_flip": "Correct the phases of a particle stack for its CTF",
    "plot_fsc": "Plot Fourier shell correlations",
    "plot_loss": "Plot the learning curves of training runs",
    "plot_z1": "Plot a latent of one dimension",
    "plot_z2": "Plot a latent of two dimensions",
    "plot_z_pca": "Plot a latent along its first two principal components",
    "project3d": "Project a volume in many directions",
    "run_umap": "Map a latent into the plane by UMAP",
    "select_clusters": "Indices of the particles in some clusters",
    "select_random": "Indices of some particles chosen at random",
    "translate_mrcs": "Shift the images of a particle stack",
    "tsne": "Map a latent into the plane by t-SNE",
    "view_cs_header": "Show the columns of a cryoSPARC .cs file",
    "view_header": "Show the header of an MRC file",
    "view_mrcs": "Show the first images of a particle stack",
    "write_star": "Write a RELION .star file of a particle stack",
}
# Names of the scripts of 0.2.0, and of later versions where they changed.
TOOL_ALIASES = {
    "plotfsc": "plot_fsc",
    "translate_stack": "translate_mrcs",
    "view_stack": "view_mrcs",
    "write_cs": "filter_cs",
}

CRYODRGN_UTILS = Program(
    name="cryodrgn_utils",
    description=__doc__,
    package="cryodrgn.cli.tool_commands",
    commands=TOOLS,
    aliases=TOOL_ALIASES,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its status, see :meth:`Program.run`."""
    return CRYODRGN_UTILS.run(argv)


if __name__ == "__main__":
    sys.exit(main())
