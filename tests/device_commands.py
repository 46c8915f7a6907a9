"""Lines of every command that computes on a device, at small sizes."""

from pathlib import Path

from cryodrgn.cli.main import main
from finished_run import SMALL_NN, SMALL_VAE

TRAINING = ("-n", 2, "-b", 8, "--precision", "float32")
SEARCH = (
    *("--l-start", 4, "--l-end", 5, "--niter", 1, "--base-healpy", 1, "--t-extent", 1),
    *("--t-ngrid", 1, "--nkeptposes", 2, "--refine-epochs", 1, "--pretrain", 16),
    *("--start-images", 20, "--ps-freq", 1, "--starts", 1),
)
COMMANDS = {
    "train_vae": ("{star}", "--zdim", 2, *TRAINING, *SMALL_VAE, "--held-out", 0.2),
    "train_nn": ("{star}", *TRAINING, *SMALL_NN),
    "train_dec": (
        *("{star}", "--zdim", 2, *TRAINING, *SMALL_NN),
        *("--do-pose-sgd", "--pretrain-pose", 0),
    ),
    "abinit_homo": ("{star}", *TRAINING, *SMALL_NN, *SEARCH),
    "abinit_het": ("{star}", "--zdim", 1, *TRAINING, *SMALL_VAE, *SEARCH),
    # With a latent it is abinit_het.
    "abinit": (
        *("{star}", "--zdim", 0, *TRAINING, "--pdim", 16, "--players", 1),
        *SEARCH,
    ),
    "backproject_voxel": ("{star}",),
    "eval_vol": ("{vae}/weights.pkl", "-c", "{vae}/config.yaml", "--zfile", "{zfile}"),
    "eval_images": (
        *("{star}", "{vae}/weights.pkl", "-c", "{vae}/config.yaml"),
        *("--out-z", "{out}.z.pkl"),
    ),
    "analyze": ("{vae}", 1, "--ksample", 2, "--skip-umap", "--pc", 1, "--n-per-pc", 2),
    "analyze_landscape": ("{vae}", 1, "-N", 6, "-M", 2, "--pc-dim", 2),
    "analyze_landscape_full": (
        *("{vae}", 1, "-N", 8, "--epochs", 1, "--dim", 8, "--layers", 1),
        *("--landscape-dir", "{landscape}"),
    ),
    "simulate": (
        *("-D", 16, "--Apix", 12, "-n", 24, "--num-states", 2),
        *("--tilt-series", "--tilt-step", 60, "--b-factor", 20, "--white"),
    ),
    "train_linear": ("{star}", "--components", 2),
    "reconstruct_states": ("{vae}", "-z", 0.1, 0.2),
    "power": (
        *("{star}", "--components", 1, "--radius", 5, "--trials", 1),
        *("--domain-kda", 20, "--motions", 5),
    ),
    "doctor": (),
    "benchmark": (
        *("--boxes", 16, "--batches", 2, "--widths", 16, "--seconds", 0.01, "--steps-only"),
    ),
}
OUTPUTS = {
    "backproject_voxel": ".mrc",
    "eval_images": ".pkl",
    "benchmark": None,
    "doctor": None,
}
# Whole analyses, most of whose time goes into pictures.
SLOW = {"analyze", "analyze_landscape", "analyze_landscape_full"}


def make_inputs(folder: Path) -> dict[str, Path]:
    """Particles and a run made by the processor, and the place of its landscape, by name."""
    words = f"simulate -D 16 --Apix 12 -n 48 --num-states 2 --snr 1 -o {folder / 'sim'}"
    assert main(words.split()) == 0
    (folder / "z.txt").write_text("0 0\n0.5 -1\n")
    names = {"star": folder / "sim" / "particles.star", "zfile": folder / "z.txt"}
    names |= {"vae": folder / "vae", "landscape": folder / "landscape"}
    assert main(line("train_vae", names, folder / "vae", "cpu")) == 0
    return names


def line(command: str, names: dict[str, Path], out: Path, device: str) -> list[str]:
    """The words of a command; ``names`` are those of :func:`make_inputs`."""
    words = [str(word).format(**names, out=out) for word in COMMANDS[command]]
    ending = OUTPUTS.get(command, "")
    target = [] if ending is None else ["-o", f"{out}{ending}"]
    return [command, *words, *target, "--device", device]
