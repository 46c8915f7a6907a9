"""Flags of other versions that the commands searching for poses accept without using them."""

import argparse
import logging
from dataclasses import dataclass

logger = logging.getLogger(__name__)

PREPARED = "images are prepared once, when the run begins"
COMPARED = "as many images are compared at once as the device handles best"
OPTIMISERS = "networks learn with Adam, poses and latents with steps made for tables"
RAMP = "frequencies rise with --l-ramp-epochs"
ENCODER = "the encoder is that of train_vae: --encode-mode, --qlayers and --qdim"
UNTILTED = "poses are searched with the untilted images alone"


@dataclass(frozen=True, slots=True)
class WithoutEffect:
    """A flag that changes nothing here.

    Attributes:
        flag: Its name.
        why: What takes its place, or why nothing has to.
        has_value: Whether a value follows it.
    """

    flag: str
    why: str
    has_value: bool = True

    @property
    def dest(self) -> str:
        """Its name among the parsed arguments, which is nobody else's."""
        return "unused_" + self.flag.removeprefix("--").replace("-", "_")


WITHOUT_EFFECT = (
    WithoutEffect("--relion31", "the version of a .star file is recognised", has_value=False),
    WithoutEffect("--max-threads", PREPARED),
    WithoutEffect("--num-workers", PREPARED),
    WithoutEffect("--shuffler-size", PREPARED),
    WithoutEffect("--no-shuffle", "the order is random, see --shuffle-seed", has_value=False),
    WithoutEffect("--verbose-time", "metrics.csv has the seconds", has_value=False),
    WithoutEffect("--no-analysis", "analyze is run on its own", has_value=False),
    WithoutEffect("--tilt", UNTILTED),
    WithoutEffect("--tilt-deg", UNTILTED),
    WithoutEffect(
        "--probabilistic", "first maps weigh poses, searches choose them", has_value=False
    ),
    WithoutEffect(
        "--pose-model-update-freq", "a search compares with the network as it was at its start"
    ),
    WithoutEffect(
        "--reset-optim-after-pretrain",
        "slices of the first map are learnt with an optimiser of their own",
        has_value=False,
    ),
    WithoutEffect("--n-imgs-pose-search", "give --epochs-pose-search"),
    WithoutEffect("--pose-only-phase", "classes of the first map tell first latents"),
    WithoutEffect("--batch-size-hps", COMPARED),
    WithoutEffect("--batch-size-known-poses", COMPARED),
    WithoutEffect("--lr-conf-encoder", "an encoder learns with --lr"),
    WithoutEffect("--hypervolume-optimizer-type", OPTIMISERS),
    WithoutEffect("--pose-table-optimizer-type", OPTIMISERS),
    WithoutEffect("--conf-table-optimizer-type", OPTIMISERS),
    WithoutEffect("--conf-encoder-optimizer-type", OPTIMISERS),
    WithoutEffect("--add-one-frequency-every", RAMP),
    WithoutEffect("--n-frequencies-per-epoch", RAMP),
    WithoutEffect("--beta-conf", "its scale is another; give --beta"),
    WithoutEffect(
        "--variational-het", "only --use-conf-encoder has distributions", has_value=False
    ),
    WithoutEffect("--trans-l1-regularizer", "--t-extent bounds shifts"),
    WithoutEffect("--l2-smoothness-regularizer", "volumes have no penalty besides --wd"),
    WithoutEffect("--depth-cnn", ENCODER),
    WithoutEffect("--channels-cnn", ENCODER),
    WithoutEffect("--kernel-size-cnn", ENCODER),
    WithoutEffect("--resolution-encoder", ENCODER),
    WithoutEffect("--explicit-volume", "only first maps are of voxels", has_value=False),
    WithoutEffect("--pe-type-conf", "latents enter the decoder as they are"),
)


def add_without_effect(parser: argparse.ArgumentParser) -> None:
    """Accept the flags."""
    group = parser.add_argument_group("Accepted, without effect here")
    for one in WITHOUT_EFFECT:
        action = "store" if one.has_value else "store_true"
        group.add_argument(one.flag, dest=one.dest, action=action, help=one.why)


def warn_of(args: argparse.Namespace) -> None:
    """Say of every flag that was given why it has no effect."""
    for one in WITHOUT_EFFECT:
        if one.dest in args.given:
            logger.warning("%s has no effect: %s", one.flag, one.why)
