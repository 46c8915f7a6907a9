"""Settings of the ab initio pose search along with training."""

from dataclasses import dataclass, field

from cryodrgn.errors import ConfigError
from cryodrgn.orientation.settings import GridSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """Settings of the search of poses.

    Attributes:
        grids: Grids of rotations and shifts.
        interval: Epochs from one search of all images to the next; in between, poses are kept.
        ramp_epochs: Epochs in which the radius of the frequencies that are learnt rises from
            the first to the last one of the grids.
        refine_epochs: Epochs at the end in which all frequencies are learnt and poses follow
            their gradients.
        num_starts: First maps that are made from different seeds, and compared.
        start_images: Images of which they are made.
        pretrain: Slices of the first map, in random poses, that the network learns before it
            learns images; so that it is a reference from the first search on.
        num_classes: Maps into which a first map is split where there is a latent; how probable
            each image finds them tells its first latent.
        num_references: Latents at most whose maps images are compared with, where there is a
            latent: each image with that of the nearest one.
        takes_given: Whether the run begins with the poses of the particles instead of first
            maps.
        ramps_model: Whether the network learns no higher frequencies than those of the ramp;
            otherwise it learns all from the beginning, and only the search is bound to it.
        max_radius: Largest radius that is learnt, in the last epochs too; None stands for all.
        model_reset_interval: Epochs after which the weights are drawn anew, right after a
            search; None keeps them.
        optimizer_reset_interval: Epochs after which the optimiser forgets its moments; None
            lets it remember them.
        latent_spread: Standard deviation of first latents in directions of which classes say
            nothing.
    """

    grids: GridSettings = field(default_factory=GridSettings)
    interval: int = 5
    ramp_epochs: int = 10
    refine_epochs: int = 5
    num_starts: int = 1
    start_images: int = 1000
    pretrain: int = 10000
    num_classes: int = 2
    num_references: int = 8
    takes_given: bool = False
    ramps_model: bool = True
    max_radius: int | None = None
    model_reset_interval: int | None = None
    optimizer_reset_interval: int | None = None
    latent_spread: float = 0.1

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            ConfigError: A number is out of range.
        """
        at_least = {
            "`search_interval`": (self.interval, 1),
            "`ramp_epochs`": (self.ramp_epochs, 0),
            "`refine_epochs`": (self.refine_epochs, 0),
            "`num_starts`": (self.num_starts, 1),
            "`start_images`": (self.start_images, 20),
            "`pretrain`": (self.pretrain, 0),
            "`num_classes`": (self.num_classes, 1),
            "`num_references`": (self.num_references, 1),
            "`max_radius`": (self.max_radius, 4),
            "`model_reset_interval`": (self.model_reset_interval, 1),
            "`optimizer_reset_interval`": (self.optimizer_reset_interval, 1),
            "`latent_spread`": (self.latent_spread, 0),
        }
        for option, (value, least) in at_least.items():
            if value is not None and not value >= least:
                msg = f"{option} must be at least {least}, got {value}"
                raise ConfigError(msg)

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
