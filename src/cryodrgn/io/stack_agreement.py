"""Box and pixel size that particle files and ctf.pkl give, compared with those of stacks."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.metadata import ParticleMetadata

PIXEL_SIZE_TOLERANCE = 0.01


def require_box_size(metadata: ParticleMetadata, images: ImageStack) -> None:
    """Refuse images of another box than their file says; of oblong ones the longer side counts.

    Raises:
        ShapeMismatchError: They have another one.
    """
    said, found = metadata.box_sizes(), images.shapes.max(1)
    if said is None or not (said != found).any():
        return
    row = int((said != found).argmax())
    if said[row] == images.shapes[row].min():
        msg = (
            f"{metadata.path} says that images have {said[row]} pixels, which is the shorter "
            f"side of its oblong images; the longer one counts: write {found[row]} there, or "
            "cut the images to squares with cryodrgn downsample STACK --box PX -D PX"
        )
        raise ShapeMismatchError(msg)
    msg = (
        f"{metadata.path} says that images have {said[row]} pixels, but their stacks have "
        f"{found[row]}; were they downsampled? Pass the file that belongs to the stacks, or "
        "give `poses` and `ctf`"
    )
    raise ShapeMismatchError(msg)


def refuse_shorter_side(
    ctf: Path, images: ImageStack, side_lengths: Float[np.ndarray, " rows"]
) -> None:
    """Refuse a ``ctf.pkl`` of a box that is the shorter side of oblong images.

    Args:
        ctf: The file, for messages.
        images: The images, whose pixel size their stack gives.
        side_lengths: Sides in Å by the pickle.

    Raises:
        ShapeMismatchError: The pixel size of the stack says so.
    """
    sizes = images.pixel_sizes
    if sizes is None:
        return
    longer, shorter = images.shapes.max(1), images.shapes.min(1)
    of_shorter, of_longer = (
        np.abs(side_lengths / (sides * sizes) - 1) < PIXEL_SIZE_TOLERANCE
        for sides in (shorter, longer)
    )
    wrong = np.flatnonzero(of_shorter & ~of_longer)
    if len(wrong):
        row = wrong[0]
        msg = (
            f"{ctf} was made for a box of the shorter side of images of {longer[row]} × "
            f"{shorter[row]} pixels ({side_lengths[row]:.4g} Å), but the longer one counts: "
            f"make poses and CTF anew with cryodrgn parse_star -D {longer[row]}, or give the "
            ".star or .cs file alone"
        )
        raise ShapeMismatchError(msg)


def require_agreement(
    ctf: Path,
    from_ctf: Float[np.ndarray, " rows"],
    particles: Path,
    from_metadata: Float[np.ndarray, " rows"],
) -> None:
    """Refuse pixel sizes of a ``ctf.pkl`` that are not those of a particle file.

    Raises:
        ConfigError: They are not.
    """
    difference = np.abs(from_ctf / from_metadata - 1)
    if difference.max() > PIXEL_SIZE_TOLERANCE:
        row = int(difference.argmax())
        msg = (
            f"{ctf} gives {from_ctf[row]:.4g} Å/px, but {particles} gives "
            f"{from_metadata[row]:.4g} (row {row}); do both describe the same images?"
        )
        raise ConfigError(msg)
