"""Agreement of volumes with images that they were not made of.

With it functions of a latent are chosen. Particles are divided into groups of near latents.
From the particles of a group that belong to one half a plain map is reconstructed; the volumes
of the other half, at the mean functions of these very particles, predict it. The correlation
with the map rises with that with the truth, and the noise of the map is the same for all
candidates, so the better candidate is the one of higher correlation. (The likelihood of single
images is no measure of it: it is swayed by how the density of latents is modelled.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.imaging.masks import resize_mask
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.linear.halves import Halves, correlations
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.linear.maximisation import noise_of, solve
from cryodrgn.linear.regression import Coefficients, accumulate
from cryodrgn.linear.subspace import Subspace

# Particles of a group on average, bounds on the number of groups, and particles of one half
# below which a group says too little.
GROUP_SIZE, FEWEST_GROUPS, MOST_GROUPS, LEAST_PARTICLES = 150, 4, 20, 10
# Maps of the groups are damped by this share of their mean weight.
DAMPING = 0.3
# Standard errors by which one candidate must be better than another.
CERTAIN = 2.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidate:
    """Volumes for functions of a latent, from each half of the images.

    Attributes:
        functions: The functions, without the constant one.
        halves: Volumes V_0 … V_K from each half.
    """

    functions: Callable[[Float[Tensor, "points z"]], Float[Tensor, "points functions"]]
    halves: tuple[Float[Tensor, "volumes box box box"], Float[Tensor, "volumes box box box"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Difference of two candidates in their agreement with the other half.

    Attributes:
        gain: Mean correlation of the second, over groups and shells, less that of the first.
        error: Its standard error over groups.
    """

    gain: float
    error: float

    @property
    def is_certain(self) -> bool:
        """True if the second agrees better beyond doubt."""
        return self.gain > CERTAIN * self.error


def number_of_groups(count: int) -> int:
    """Number of groups into which so many particles are divided."""
    return min(MOST_GROUPS, max(FEWEST_GROUPS, count // GROUP_SIZE))


def compared(
    images: DiscImages,
    halves: Halves,
    groups: Int[Tensor, " particles"],
    latents: Float[Tensor, "particles z"],
    contrast: Float[Tensor, " particles"] | None,
    noise: NoiseModel,
    mask: Float[Tensor, "size size size"],
    first: Candidate,
    second: Candidate,
) -> Comparison:
    """Compare two candidates by what each half's volumes predict of the other half.

    Args:
        images: The images.
        halves: Rows of those of each half.
        groups: Group of near latents that each particle belongs to.
        latents: The latents.
        contrast: Contrast of every particle; None where all are 1.
        noise: The noise.
        mask: Where there may be density.
        first: A candidate.
        second: Another one.
    """
    square = None if contrast is None else contrast.square()
    plain = Coefficients(
        values=latents.new_zeros(len(latents), 0), contrast=contrast, contrast_square=square
    )
    radius = min(images.largest_radius, images.box_size // 2 - 1)
    differences: list[float] = []
    for number, half in enumerate(halves):
        for group in groups.unique().tolist():
            rows = half[groups[half] == group]
            if images.num_different(rows) < LEAST_PARTICLES:
                continue
            found = _group_map(images, rows, plain, noise, mask, radius)
            weights = torch.ones(len(rows)) if square is None else square[rows].cpu()
            agreement = [
                _correlation(found, _predicted(one, 1 - number, latents[rows], weights), radius)
                for one in (first, second)
            ]
            differences.append(agreement[1] - agreement[0])
    values = torch.tensor(images.team.agree(differences), dtype=torch.float64)
    if len(values) < 2:
        return Comparison(gain=0.0, error=math.inf)
    return Comparison(
        gain=float(values.mean()), error=float(values.std()) / math.sqrt(len(values))
    )


def _group_map(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    plain: Coefficients,
    noise: NoiseModel,
    mask: Float[Tensor, "size size size"],
    radius: int,
) -> Float[Tensor, "box box box"]:
    """The plain map of some particles, masked."""
    sums = accumulate(images, rows, plain, noise, radius)
    prior = noise_of(sums, radius)[None] / DAMPING
    stencil = resize_mask(mask, sums.grid.box_size)
    return solve(sums, prior, stencil[None], radius)[0]


def _predicted(
    candidate: Candidate,
    half: int,
    latents: Float[Tensor, "rows z"],
    weights: Float[Tensor, " rows"],
) -> Float[Tensor, "box box box"]:
    """The volume of the mean functions of some particles, by one half's volumes."""
    volumes = candidate.halves[half]
    shares = (weights / weights.sum()).to(volumes.device)
    functions = shares @ candidate.functions(latents)
    return volumes[0] + torch.tensordot(functions, volumes[1:], dims=1)


def _correlation(
    first: Float[Tensor, "box box box"], second: Float[Tensor, "box box box"], radius: int
) -> float:
    """Mean Fourier shell correlation of two volumes over all shells but the origin's."""
    prior = first.new_ones(1, radius + 2)
    models = [
        Subspace(volumes=volume[None], prior=prior, radius=radius) for volume in (first, second)
    ]
    return float(correlations(models[0], models[1])[0, 1:radius].mean())
