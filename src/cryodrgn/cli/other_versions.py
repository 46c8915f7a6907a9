"""Options and commands that are not here but elsewhere, or in other versions: what to use."""

from collections.abc import Mapping

NETWORKS = ("train_vae", "train_nn", "train_dec", "power")
SEARCHES = ("abinit", "abinit_homo", "abinit_het")
OF_NETWORKS: Mapping[str, str] = {
    "--symmetry": "list every particle at all of its mates first (cryodrgn expand FILE "
    "--symmetry GROUP -o expanded.star) and give it that file; motions of all subunits "
    "together are found by train_linear --symmetry",
    "--ewald": "it takes the Ewald sphere for flat; backproject_voxel, train_linear and "
    "reconstruct_states account for its curvature, or give smaller images, -D",
}
OF_SEARCHES: Mapping[str, str] = {
    "--symmetry": "poses are searched without symmetry; refine them in RELION or cryoSPARC "
    "and give backproject_voxel --symmetry",
    "--ewald": "poses are compared with flat slices; give backproject_voxel --ewald, once "
    "there are poses",
}
WIDTH = "encoders are as wide as --qdim says, decoders as --pdim; --zdim is that of the latent"
OPTIONS: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(NETWORKS, OF_NETWORKS),
    **dict.fromkeys(SEARCHES, OF_SEARCHES),
    "train_vae": {**OF_NETWORKS, "--dim": WIDTH},
    "abinit_het": {**OF_SEARCHES, "--dim": WIDTH},
    "run": {
        "--ewald": OF_NETWORKS["--ewald"],
        "--dim": WIDTH,
    },
    "check": {
        "--symmetry": "it compares poses with the images as they stand, which takes no "
        "symmetry; give backproject_voxel --symmetry",
        "--ewald": "it finds the hand of the curvature by itself, where the images tell it",
    },
    "eval_images": {
        "--dim": WIDTH,
        "--random-tilts": "a trained model is asked about the best --ntilts images",
        **dict.fromkeys(
            ("--t-emb-dim", "--tlayers", "--tdim"), "the config of the run says them"
        ),
    },
}
# Commands that are not here, by name, and what does their work.
COMMANDS: Mapping[str, str] = {
    "preprocess": "give the stack itself: images are prepared when a run begins",
    "abinit_tilt": "poses of tilt series are not searched here: refine them in RELION or M, "
    "and train on the particles that it writes",
}


def why_option_is_missing(command: str, option: str) -> str | None:
    """Reason why an option of another version or command is not here, and what to use.

    None if there is nothing to say.
    """
    return OPTIONS.get(command, {}).get(option)
