"""Half-set validation: components that two independent half sets share carry signal."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryodrgn.linear.subspace import Subspace, principal_directions, shell_averages

# Half models agree by chance to about sqrt(K / free values of a masked volume), 0.1 to 0.3.
SIGNAL_THRESHOLD = 0.4
LARGEST_FSC = 0.999
LEAST_FSC = 1e-3
# Rows of the images of each half.
Halves = tuple[Int[Tensor, " first"], Int[Tensor, " second"]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Agreement:
    """Half models brought together.

    Attributes:
        joint: The model of both, components in order of their spread.
        halves: Each half's mean and its own rendering of the joint components.
        fsc: Fourier shell correlation of the renderings, by volume and shell.
        correlation: Correlation of the renderings of each component over all shells.
        spread: Squared norm of each joint component: how much density varies along it.
    """

    joint: Subspace
    halves: tuple[Subspace, Subspace]
    fsc: Float[Tensor, "volumes shells"]
    correlation: Float[Tensor, " components"]
    spread: Float[Tensor, " components"]

    @property
    def is_signal(self) -> Bool[Tensor, " components"]:
        """True for components that both half sets show."""
        return self.correlation > SIGNAL_THRESHOLD

    def keeping(self, kept: Int[Tensor, " kept"]) -> "Agreement":
        """This agreement restricted to some of the components."""
        volumes = torch.cat([kept.new_zeros(1), kept + 1])

        def part(subspace: Subspace) -> Subspace:
            return Subspace(
                volumes=subspace.volumes[volumes],
                prior=subspace.prior[volumes],
                radius=subspace.radius,
            )

        first, second = (part(half) for half in self.halves)
        return Agreement(
            joint=part(self.joint),
            halves=(first, second),
            fsc=self.fsc[volumes],
            correlation=self.correlation[kept],
            spread=self.spread[kept],
        )


def agreement(first: Subspace, second: Subspace, noise: Float[Tensor, " shells"]) -> Agreement:
    """Bring two half models into one frame and see what they agree on.

    The joint components are the leading eigenvectors of the mean of both covariances.

    Args:
        first: The model of one half.
        second: That of the other, of the same radius.
        noise: Variance of a half's volumes without prior, by shell.
    """
    halves = [half.volumes.flatten(1) for half in (first, second)]
    stacked = torch.cat([half[1:] for half in halves]) / 2**0.5
    directions = principal_directions(stacked, halves[0][0] + halves[1][0])
    joint = directions[:, : first.num_components].T @ stacked
    means = (halves[0][0] + halves[1][0]) / 2
    volumes = torch.cat([means[None], joint]).view(first.volumes.shape)
    return agreement_on(volumes, first, second, noise)


def agreement_on(
    volumes: Float[Tensor, "volumes size size size"],
    first: Subspace,
    second: Subspace,
    noise: Float[Tensor, " shells"],
) -> Agreement:
    """Agreement of two half models on the components of a joint model.

    Each half's rendering of a component is its projection onto that half's own components.
    Priors follow from the correlation of the renderings, τ = σ² FSC / (1 − FSC) with the noise
    σ² of a half (Scheres 2012); that of masked maps already accounts for the share of the mask.

    Args:
        volumes: Mean and components of the joint model.
        first: The model of one half.
        second: That of the other, of the same radius.
        noise: Variance of a half's volumes without prior, by shell.
    """
    halves = [half.volumes.flatten(1) for half in (first, second)]
    joint = volumes.flatten(1)[1:]
    renderings = [_projections(joint, half[1:]) for half in halves]
    shape, radius, unknown = volumes.shape, first.radius, torch.ones_like(first.prior)
    rendered = [
        Subspace(
            volumes=torch.cat([half[:1], rendering]).view(shape), prior=unknown, radius=radius
        )
        for half, rendering in zip(halves, renderings, strict=True)
    ]
    fsc = correlations(*rendered)
    prior = prior_from(fsc, noise)
    norms = [rendering.square().sum(1) for rendering in renderings]
    cross = (renderings[0] * renderings[1]).sum(1)
    first_half, second_half = (
        Subspace(volumes=half.volumes, prior=prior, radius=radius) for half in rendered
    )
    return Agreement(
        joint=Subspace(volumes=volumes, prior=prior, radius=radius),
        halves=(first_half, second_half),
        fsc=fsc,
        correlation=cross / (norms[0] * norms[1]).clamp_min(1e-30).sqrt(),
        spread=joint.square().sum(1),
    )


def prior_from(
    fsc: Float[Tensor, "volumes shells"], noise: Float[Tensor, " shells"]
) -> Float[Tensor, "volumes shells"]:
    """Variance of the signal, σ² FSC / (1 − FSC), from half maps whose noise is known."""
    agreed = fsc.clamp(LEAST_FSC, LARGEST_FSC)
    return noise * agreed / (1 - agreed)


def correlations(first: Subspace, second: Subspace) -> Float[Tensor, "volumes shells"]:
    """Fourier shell correlation of each volume of one model with that of another."""
    tables = [half.table().unflatten(1, (2, -1)) for half in (first, second)]
    sums = [
        shell_averages(first.grid, (a * b).sum(1), first.radius)
        for a, b in (tables, (tables[0], tables[0]), (tables[1], tables[1]))
    ]
    return (sums[0] / (sums[1] * sums[2]).clamp_min(1e-30).sqrt()).T


def _projections(
    vectors: Float[Tensor, "components voxels"], basis: Float[Tensor, "components voxels"]
) -> Float[Tensor, "components voxels"]:
    """Orthogonal projections of vectors onto the span of others."""
    orthogonal, _ = torch.linalg.qr(basis.T)
    return (vectors @ orthogonal) @ orthogonal.T
