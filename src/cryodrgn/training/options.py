"""Settings of training that commands take as options and runs record, declared once.

Each group is a base of the jobs that have its options, and of the record of a run
(:class:`~cryodrgn.training.run_config.TrainConfig`): a setting that is new here is an option of
these jobs, is checked, reaches training, and is written to ``config.yaml``. Parts of the record
come last: their settings are options under names that say which part they are of.
"""

from pathlib import Path
from typing import Literal

from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Check,
    SeedOptions,
    Settings,
    at_least,
    option,
    settings,
    within,
)
from cryodrgn.training.model_choice import FEWEST_PARTICLES, MOST_HELD_OUT

Precision = Literal["auto", "float32", "bfloat16"]
RotationNumbers = Literal["s2s2", "quat"]
Compilation = Literal["auto", "off", "on", "graphs", "triton"]

TRAINING, LARGE, LIKELIHOOD = "Training parameters", "Large data sets", "Likelihood"
CONVERGENCE, POSES, LATENTS = "Convergence", "Pose SGD", "Latents"


@settings
class LengthOptions(Settings):
    """Length of training, and the size of its steps."""

    num_epochs: int = option(
        "-n",
        "--num-epochs",
        default=20,
        group=TRAINING,
        check=at_least(1),
        resumes_as="num_epochs",
        help="Number of training epochs",
    )
    batch_size: int = option(
        "-b",
        "--batch-size",
        default=8,
        group=TRAINING,
        check=at_least(1),
        help="Minibatch size",
    )


@settings
class AdamOptions(Settings):
    """Settings of Adam."""

    weight_decay: float = option(
        "--wd",
        default=0.0,
        group=TRAINING,
        check=NOT_NEGATIVE,
        help="Weight decay in Adam optimizer",
    )
    learning_rate: float = option(
        "--lr",
        default=1e-4,
        group=TRAINING,
        check=POSITIVE,
        help="Learning rate in Adam optimizer",
    )


@settings
class ExecutionOptions(Settings):
    """Execution of training steps."""

    precision: Precision = option(
        "--precision",
        default="auto",
        group=TRAINING,
        help="Precision of matrix products; auto is bfloat16 where the device supports it",
        constants={"--no-amp": ("float32", "The same as --precision float32")},
    )
    compilation: Compilation = option(
        "--compile",
        default="auto",
        group=TRAINING,
        resumes_as="compilation",
        help="Compile the training step (on), replay it as one CUDA graph (graphs), with fused "
        "residual layers (triton), or not at all (off); auto is graphs on CUDA, otherwise off",
    )


@settings
class TuningOptions(Settings):
    """Departures from plain Adam, by which networks learn faster."""

    optimizer: Literal["adam", "muon"] = option(
        "--optimizer",
        default="adam",
        group=TRAINING,
        help="Train all weights with Adam, or the matrices of hidden layers and of the "
        "encoder's first layer with Muon and the rest with Adam",
    )
    rate_schedule: Literal["constant", "linear", "cosine"] = option(
        "--lr-schedule",
        default="constant",
        group=TRAINING,
        help="Course of the learning rate: constant, or falling to 0 at the end of the last "
        "epoch, linearly or as half a period of a cosine",
    )
    rate_warm_up: float = option(
        "--lr-warmup",
        default=0.0,
        group=TRAINING,
        metavar="EPOCHS",
        check=NOT_NEGATIVE,
        help="Raise the learning rate from 0 over this number of epochs, 0.1 for instance",
    )
    averaging: float = option(
        "--average",
        default=0.0,
        group=TRAINING,
        metavar="SHARE",
        check=within(0, 1),
        help="Write and evaluate averages of the weights over about this fraction of the "
        "steps so far, 0.1 for instance; 0 for the weights of the last step",
    )


@settings
class EncoderInputOptions(Settings):
    """Weights of an encoder's inputs, see :mod:`cryodrgn.training.input_weights`."""

    input_weighting: Literal["none", "snr"] = option(
        "--encoder-inputs",
        default="none",
        group=TRAINING,
        help="Weight the encoder's input at each spatial frequency by its signal-to-noise "
        "ratio, estimated from half maps when the run begins (snr), or not (none)",
    )


@settings
class LikelihoodOptions(Settings):
    """Noise and contrasts of the images, and masks."""

    noise_model: Literal["white", "radial"] = option(
        "--noise-model",
        default="white",
        group=LIKELIHOOD,
        help="Noise of the images: white, or with a radial power spectrum for every optics "
        "group, estimated from the residuals before every epoch but the first; squared "
        "errors are divided by it",
    )
    with_contrast: bool = option(
        "--contrast",
        default=False,
        group=LIKELIHOOD,
        help="Fit a contrast for every image, written as contrast.npy, and the standard "
        "deviation of all contrasts",
        constants={"--no-contrast": (False, "Set the contrast of every image to 1")},
    )
    mask: Path | None = option(
        "--mask",
        default=None,
        group=LIKELIHOOD,
        metavar="MRC",
        help="Solvent mask, by which decoded volumes are multiplied; training, which is in "
        "Fourier space, does not use it",
    )
    focus_mask: Path | None = option(
        "--focus-mask",
        default=None,
        group=LIKELIHOOD,
        metavar="MRC",
        help="Let the network describe only the density within this mask; outside of it "
        "every image is predicted from a consensus map. Decoded volumes are multiplied by "
        "the mask, too",
    )
    consensus: Path | None = option(
        "--consensus",
        default=None,
        group=LIKELIHOOD,
        metavar="MRC",
        help="Consensus map used outside of the focus mask, in the frame of the poses",
        default_words="the particles, backprojected",
    )


@settings
class LinearRunOptions(Settings):
    """Linear model on which a network is trained."""

    linear_run: Path | None = option(
        "--from",
        default=None,
        group=TRAINING,
        metavar="RUN",
        help="Train a network on top of a linear model, so that it learns only what the "
        "linear model cannot describe: volumes and latents of this run of train_linear (or "
        "of reconstruct_states on it) plus a network that begins at zero; with contrasts of "
        "images if that run has them, unless --no-contrast is given",
        default_words="a network alone",
    )


@settings
class ReportOptions(Settings):
    """Intervals at which a run writes checkpoints and lines of its log."""

    checkpoint_interval: int = option(
        "--checkpoint",
        default=1,
        check=at_least(1),
        resumes_as="checkpoint_interval",
        help="Checkpointing interval in N_EPOCHS",
    )
    checkpoint_minutes: float | None = option(
        "--checkpoint-minutes",
        default=None,
        metavar="MINUTES",
        check=POSITIVE,
        resumes_as="checkpoint_minutes",
        help="Also write a checkpoint at this interval within epochs, for queues with a limit",
    )
    log_interval: int = option(
        "--log-interval",
        default=1000,
        check=at_least(1),
        resumes_as="log_interval",
        help="Logging interval in N_IMGS",
    )


@settings
class ShuffleOptions(SeedOptions):
    """Seeds of all random numbers, and of the order of the images."""

    shuffle_seed: int | None = option(
        "--shuffle-seed",
        default=None,
        check=SEED,
        metavar="SEED",
        help="Random seed of the order of the images",
        default_words="that of --seed",
    )


@settings
class CacheOptions(Settings):
    """Memory and folder for prepared images."""

    memory_gb: float | None = option(
        "--memory",
        default=None,
        group=LARGE,
        metavar="GB",
        unit="GB",
        check=POSITIVE,
        resumes_as="memory_gb",
        help="Memory in GB for prepared images; if they need more, they are read from a file",
        default_words="60 %% of what is free",
    )
    cache_dir: Path | None = option(
        "--cache-dir",
        default=None,
        group=LARGE,
        metavar="DIR",
        resumes_as="cache_dir",
        help="Keep prepared images in this folder, on a fast disk, for other runs on the same "
        "images",
    )


@settings
class PoseConfig(Settings):
    """Settings of the refinement of poses."""

    # The first two rows of a rotation (s2s2, Zhou et al. 2019), or a quaternion (quat).
    embedding: RotationNumbers = option(
        "--emb-type", default="quat", group=POSES, help="SO(3) embedding type for pose SGD"
    )
    # A step of 0.01 rotates by about 0.01 radians, and shifts by about 0.01 of half the box.
    learning_rate: float = option(
        "--pose-lr",
        default=3e-4,
        group=POSES,
        check=POSITIVE,
        help="Learning rate for pose optimizer",
    )
    pretrain: int = option(
        "--pretrain",
        default=1,
        group=POSES,
        metavar="EPOCHS",
        check=at_least(0),
        help="Number of epochs with fixed poses before pose SGD",
    )


@settings
class LatentTableConfig(Settings):
    """Settings of latents that are free numbers of each particle, without an encoder."""

    learning_rate: float = option(
        "--z-lr",
        default=1e-4,
        group=LATENTS,
        check=POSITIVE,
        help="Learning rate of the latents",
    )
    pretrain: int = option(
        "--pretrain-z",
        default=0,
        group=LATENTS,
        metavar="EPOCHS",
        check=at_least(0),
        help="Number of epochs with fixed latents",
    )
    # None draws them from a standard normal.
    initial: Path | None = option(
        "--load-z",
        default=None,
        group=LATENTS,
        metavar="PKL",
        help="Start from the latents of this z.pkl, or of this run (of train_linear, for "
        "instance)",
    )


@settings
class HeldOutConfig(Settings):
    """Held-out particles, by which the convergence of training is judged."""

    fraction: float = option(
        "--held-out",
        default=0.05,
        group=CONVERGENCE,
        metavar="SHARE",
        check=Check(
            words=f"above 0, up to {MOST_HELD_OUT:g}",
            holds=lambda value: 0 < value <= MOST_HELD_OUT,
        ),
        help="Hold this fraction of the particles, 0.05 for instance, out of training; how "
        "well the model predicts their images tells whether training has converged and "
        "whether there is heterogeneity above noise. They get latents like all other "
        f"particles. Models are compared by at least {FEWEST_PARTICLES} of them (train_vae "
        "--from, compare_models)",
        default_words="train on all",
    )
    stop: bool = option(
        "--stop-when-converged",
        default=False,
        group=CONVERGENCE,
        resumes_as="held_out.stop",
        help="Stop before the last epoch once held-out particles show that training has "
        "converged; sets --held-out 0.05 if it is not given (default: train all epochs)",
        constants={"--no-stop-when-converged": (False, "Train all epochs")},
    )


# Passes in which an encoder learns known latents.
TEACHING_EPOCHS = 10


@settings
class WarmStart(Settings):
    """Latents that an encoder begins with.

    Attributes:
        latents: A ``z.pkl``, or the folder of a run that holds one.
    """

    latents: Path = option(
        "--init-z",
        group=TRAINING,
        metavar="RUN",
        help="Pretrain the encoder on the latents of this run (of train_linear, for "
        "instance) or z.pkl",
    )
    epochs: int = option(
        "--init-epochs",
        default=TEACHING_EPOCHS,
        group=TRAINING,
        metavar="EPOCHS",
        check=at_least(1),
        help="Epochs of pretraining with --init-z",
    )
