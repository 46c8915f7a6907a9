"""Settings of the ab initio pose search along with training."""

from dataclasses import field

from cryodrgn.orientation.settings import GridSettings
from cryodrgn.settings import Settings, at_least, option, settings

SCHEDULE, LATENT = "Schedule", "Latent"


@settings
class SearchConfig(Settings):
    """Settings of the search of poses.

    Attributes:
        grids: Grids of rotations and shifts.
        takes_given: Whether the run begins with the poses of the particles instead of first
            maps.
        ramps_model: Whether the network learns no higher frequencies than those of the ramp;
            otherwise it learns all from the beginning, and only the search is bound to it.
    """

    interval: int = option(
        "--ps-freq",
        default=5,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(1),
        help="Epochs from one search of all poses to the next",
    )
    ramp_epochs: int = option(
        "--l-ramp-epochs",
        default=10,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(0),
        help="Epochs in which the frequencies learnt and compared rise from --l-start to "
        "--l-end",
    )
    refine_epochs: int = option(
        "--refine-epochs",
        "--epochs-sgd",
        default=5,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(0),
        help="Epochs at the end in which poses follow their gradients",
    )
    num_starts: int = option(
        "--starts",
        default=1,
        group=SCHEDULE,
        metavar="K",
        check=at_least(1),
        help="Number of initial models from different random seeds, of which the best is used",
    )
    start_images: int = option(
        "--start-images",
        default=1000,
        group=SCHEDULE,
        metavar="IMAGES",
        check=at_least(20),
        help="Images of which initial models are made",
    )
    pretrain: int = option(
        "--pretrain",
        "--n-imgs-pretrain",
        default=10000,
        group=SCHEDULE,
        metavar="IMAGES",
        check=at_least(0),
        help="Slices of the initial model in random poses that the network learns before it "
        "learns images",
    )
    max_radius: int | None = option(
        "--max-freq",
        default=None,
        group=SCHEDULE,
        metavar="RADIUS",
        check=at_least(4),
        help="Largest radius that is learnt, in cycles per box, in the last epochs too "
        "(default: all)",
    )
    model_reset_interval: int | None = option(
        "--reset-model-every",
        default=None,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(1),
        help="Begin with weights anew, after a search, each time that this number of epochs is "
        "done (default: never)",
    )
    optimizer_reset_interval: int | None = option(
        "--reset-optim-every",
        default=None,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(1),
        help="Begin with Adam anew, each time that this number of epochs is done "
        "(default: never)",
    )
    latent_spread: float = option(
        "--std-z-init",
        default=0.1,
        group=LATENT,
        check=at_least(0),
        help="Standard deviation of initial latents in dimensions that the classes do not "
        "determine",
    )
    num_classes: int = option(
        "--classes",
        default=2,
        group=LATENT,
        metavar="K",
        check=at_least(1),
        help="Classes into which the initial model is split; they tell the first latents",
    )
    num_references: int = option(
        "--references",
        default=8,
        group=LATENT,
        metavar="K",
        check=at_least(1),
        help="Largest number of volumes that a pose search compares images with, each image "
        "with the volume at the nearest latent",
    )
    grids: GridSettings = field(default_factory=GridSettings)
    takes_given: bool = False
    ramps_model: bool = True

    def learnt_radius(self, epoch: int, num_epochs: int, box_size: int) -> int:
        """Radius in cycles per box of the frequencies that an epoch learns.

        Args:
            epoch: Number of the epoch, from 0.
            num_epochs: Epochs of the whole run.
            box_size: Side of the images in pixels.
        """
        if not self.ramps_model or epoch >= num_epochs - self.refine_epochs:
            return self._largest_radius(box_size)
        return self.searched_radius(epoch, box_size)

    def searched_radius(self, epoch: int, box_size: int) -> int:
        """Radius of the frequencies that a search after an epoch compares."""
        first, last = self.grids.radius_start, self.grids.radius_end
        done = min(1.0, epoch / self.ramp_epochs) if self.ramp_epochs else 1.0
        return min(self._largest_radius(box_size), first + int(done * (last - first)))

    def _largest_radius(self, box_size: int) -> int:
        return min(box_size // 2, self.max_radius or box_size // 2)

    def searches_in(self, epoch: int, num_epochs: int) -> bool:
        """True if poses are searched with the trained model at the beginning of an epoch."""
        last = num_epochs - self.refine_epochs
        return 0 < epoch <= last and (epoch % self.interval == 0 or epoch == last)

    def resets_model_in(self, epoch: int, num_epochs: int) -> bool:
        """True if weights are drawn anew at the beginning of an epoch.

        The last epochs, in which poses are refined, keep what was learnt.
        """
        interval, refined = self.model_reset_interval, num_epochs - self.refine_epochs
        return interval is not None and 0 < epoch < refined and epoch % interval == 0

    def resets_optimizer_in(self, epoch: int) -> bool:
        """True if the optimiser forgets its moments at the beginning of an epoch."""
        interval = self.optimizer_reset_interval
        return interval is not None and epoch > 0 and epoch % interval == 0
