"""Settings of analyses that commands take as options, declared once."""

from typing import Literal

from cryodrgn.settings import POSITIVE, Settings, at_least, option, settings

Linkage = Literal["average", "single", "complete", "ward"]
MAPPING = "Mapping"


@settings
class MappingConfig(Settings):
    """Settings of the map from latents to volume components.

    Attributes:
        seed: Of weights, split and order.
    """

    hidden_dim: int = option(
        "--dim",
        default=512,
        group=MAPPING,
        check=at_least(1),
        help="Number of nodes in hidden layers",
    )
    num_layers: int = option(
        "--layers", default=3, group=MAPPING, check=at_least(1), help="Number of hidden layers"
    )
    epochs: int = option(
        "--epochs",
        default=200,
        group=MAPPING,
        check=at_least(1),
        help="Training epochs of the network from latents to the components of the volumes",
    )
    batch_size: int = option(
        "--batch-size", default=64, group=MAPPING, check=at_least(1), help="Volumes per step"
    )
    learning_rate: float = option(
        "--lr", default=1e-4, group=MAPPING, check=POSITIVE, help="Learning rate of Adam"
    )
    seed: int = 0
