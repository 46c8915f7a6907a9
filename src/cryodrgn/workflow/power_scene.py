"""The set of which power is asked: images, consensus, noise, and the motions to plant."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.counts import counted
from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.fourier.resample import resize_volume
from cryodrgn.fourier.shells import weight_shells
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.io.masks import read_mask
from cryodrgn.kernels.projection import move_volume
from cryodrgn.linear.embed import embed
from cryodrgn.linear.fit import Fit, PpcaEM
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.linear.masks import Masks
from cryodrgn.linear.options import LinearModelOptions
from cryodrgn.linear.planting import (
    Background,
    amplitudes,
    drawn_rows,
    residual_noise,
    sampled,
)
from cryodrgn.linear.runner import estimated_norm, prepare_disc
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.align import align_volume
from cryodrgn.reconstruction.backproject import backproject
from cryodrgn.settings import SeedOptions, same_as, settings
from cryodrgn.simulation.motions import (
    CUBIC_ANGSTROM_PER_KDA,
    Motions,
    between_maps,
    between_models,
    domain_at_the_end,
    map_of_box,
    require_sizes,
    turned_chains,
    turned_domain,
)
from cryodrgn.simulation.states import VOLUMES
from cryodrgn.workflow.options import MotionOptions

logger = logging.getLogger(__name__)

# A size that every domain can go.
LEAST_SIZE = 1e-3
# Most particles of a planted set: forecasts carry over to more.
LARGEST_TRIAL = 20_000
# Correlation of a state with the consensus below which it is refused.
LEAST_AGREEMENT = 0.5
# Shells up to this one decide whether a density has the sign and place of the images.
COARSE = 8


@settings
class MotionSettings(MotionOptions):
    """Motions that are asked for, and can be made."""

    def __post_init__(self) -> None:
        """Refuse settings that name no motion, or two.

        Raises:
            ConfigError: Settings contradict one another.
        """
        super().__post_init__()
        if self.sizes is not None:
            require_sizes(self.sizes)
        if self.axis is not None and not 0 < math.hypot(*self.axis) < math.inf:
            words = " ".join(f"{value:g}" for value in self.axis)
            msg = f"`axis` {words} has no direction; at least one number must not be 0"
            raise ConfigError(msg)
        if len(self.models) > 2:
            msg = f"`models` takes one or two files, got {len(self.models)}"
            raise ConfigError(msg)
        if len(self.models) == 1 and not self.chains:
            msg = (
                f"{self.models[0]} alone says no motion; give a second state with `models`, or "
                "the chains that move with `chains`"
            )
            raise ConfigError(msg)
        if self.chains and len(self.models) != 1:
            msg = "`chains` needs one atomic model in `models`, the chains of which move"
            raise ConfigError(msg)
        if self.models and self.mask is not None:
            msg = (
                "the motion is either one of `models` or of the domain within `mask`, not both"
            )
            raise ConfigError(msg)
        if len(self.models) == 2:
            self._require_one_kind()

    def _require_one_kind(self) -> None:
        are_maps = [path.suffix in VOLUMES for path in self.models]
        if any(are_maps) != all(are_maps):
            msg = "`models` must be two maps or two atomic models, not one of each"
            raise ConfigError(msg)
        if self.axis is not None:
            msg = "`axis` turns a domain; between two `models` every part goes its own way"
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """A set in which motions are planted.

    Attributes:
        particles: The particles.
        images: Their images.
        norm: Offset and scale of the images.
        consensus: The map of all of them, in units of the prepared images.
        motions: What moves, on the same scale.
        background: What the images show besides: consensus, heterogeneity, noise.
        noise: Noise with which fits begin.
        num_own: Components of the set's own heterogeneity, which were removed.
    """

    particles: ParticleSet
    images: DiscImages
    norm: tuple[float, float]
    consensus: Float[Tensor, "box box box"]
    motions: Motions
    background: Background
    noise: NoiseModel
    num_own: int

    @property
    def radius(self) -> int:
        """The last shell of whole images."""
        return min(self.images.largest_radius, self.images.box_size // 2 - 1)


@settings
class FitSettings(SeedOptions):
    """Settings of the linear model whose detection is asked for."""

    num_components: int = same_as(LinearModelOptions, "num_components")
    radius: int = same_as(LinearModelOptions, "radius")
    fit_images: int = same_as(LinearModelOptions, "fit_images")


def fitted(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    noise: NoiseModel,
    settings: FitSettings,
    seed: int,
) -> Fit:
    """The fit of ``train_linear`` to some images."""
    return PpcaEM(
        images,
        rows,
        noise,
        num_components=settings.num_components,
        radius=min(settings.radius, images.largest_radius - 1),
        masks=Masks(),
        with_contrast=None,
        seed=seed,
    ).run()


def open_scene(
    data: DataConfig,
    particles: ParticleSet,
    motion: MotionSettings,
    fit: FitSettings,
    device: torch.device,
    scratch: Path,
    consensus: Path | None = None,
    *,
    on_disk: bool | None = None,
    without_own: bool = True,
) -> Scene:
    """Prepare a set, and what is to be planted in it.

    Args:
        data: How images are prepared.
        particles: The particles.
        motion: What moves.
        fit: Settings of the linear model.
        device: Where to compute.
        scratch: Folder for images that do not fit into memory.
        consensus: A map that takes the place of the backprojection.
        on_disk: Whether prepared images are kept in a file; None decides by memory.
        without_own: Whether heterogeneity that the linear model finds in the set is removed.

    Raises:
        CryodrgnError: The set cannot be used, or the motion does not fit into it.
    """
    require_optics(particles)
    _require_motion(motion, consensus, particles)
    norm = data.norm or estimated_norm(data, particles)
    images = prepare_disc(
        data, particles, norm, device, storage=Storage(scratch_dir=scratch, on_disk=on_disk)
    )
    first = initial_noise(images.images, optics_groups(particles.images))
    radius, rows = min(images.largest_radius, images.box_size // 2 - 1), sampled(images)
    if consensus is None:
        preparation = images_settings(data, norm)
        density = backproject(particles, preparation, device=device).volume
    else:
        density = map_of_box(consensus, images.box_size, particles.require_pixel_size())
        density = _scaled(density, density, images, rows, first, radius, str(consensus))
    motions = _motions(motion, density, particles)
    noise = residual_noise(images, rows, density, first, radius)
    if motions.is_model:
        motions = _on_scale(motions, density, images, rows, noise, radius)
    latents = torch.zeros(len(particles), 0, device=device)
    scene = Scene(
        particles=particles,
        images=images,
        norm=norm,
        consensus=density,
        motions=motions,
        background=Background(volumes=density[None].to(device), latents=latents, noise=noise),
        noise=first,
        num_own=0,
    )
    return _without_own(scene, fit) if without_own else scene


def _require_motion(
    motion: MotionSettings, consensus: Path | None, particles: ParticleSet
) -> None:
    """Refuse a motion that does not fit before any image is prepared, where that is known.

    Raises:
        CryodrgnError: A file cannot be used, or nothing can move like that.
    """
    box_size, pixel_size = particles.box_size, particles.require_pixel_size()
    # Usual sizes are fitted to the domain, and said, later.
    asked = replace(motion, sizes=motion.sizes or (LEAST_SIZE,))
    is_named = motion.mask is not None or motion.domain_kda is not None
    if motion.models:
        _motions(asked, torch.zeros(1, 1, 1), particles)
    elif consensus is not None and is_named:
        _motions(asked, map_of_box(consensus, box_size, pixel_size), particles)
    elif motion.mask is not None:
        read_mask(motion.mask, box_size, pixel_size)
    elif motion.domain_kda is not None:
        # A ball that fills the box is the largest molecule that its images can show.
        most = math.pi / 6 * (box_size * pixel_size) ** 3 / CUBIC_ANGSTROM_PER_KDA / 2
        if motion.domain_kda > most:
            msg = (
                f"a domain of {motion.domain_kda:g} kDa is more than half of any molecule in a "
                f"box of {box_size * pixel_size:.0f} Å, of which at most half "
                f"({most:.3g} kDa) can move against the rest; give another mass with "
                "`domain_kda`"
            )
            raise ConfigError(msg)


def require_optics(particles: ParticleSet) -> None:
    """Refuse sets of which it is not known how their images came about.

    Raises:
        MetadataError: There are no poses, or no CTF.
    """
    particles.images.require_poses()
    particles.require_pixel_size()
    if particles.images.ctf is None:
        msg = (
            f"{particles.source} has no CTF parameters, from which it follows what images show "
            "of a motion; give them with `ctf`, or a .star or .cs file that has them"
        )
        raise MetadataError(msg)


def images_settings(data: DataConfig, norm: tuple[float, float]) -> Preprocessing:
    """The preparation of images."""
    return Preprocessing(
        window_radius=data.window_radius, invert=data.invert, offset=norm[0], scale=norm[1]
    )


def _motions(
    motion: MotionSettings, consensus: Float[Tensor, "box box box"], particles: ParticleSet
) -> Motions:
    box_size, pixel_size = particles.box_size, particles.require_pixel_size()
    sizes = None if motion.sizes is None else require_sizes(motion.sizes)
    if len(motion.models) == 2:
        pair = (motion.models[0], motion.models[1])
        if pair[0].suffix in VOLUMES:
            shares = sizes or (0.25, 0.5, 0.75, 1.0)
            return between_maps(pair, box_size, pixel_size, shares)
        return between_models(pair, box_size, pixel_size, sizes)
    if motion.models:
        return turned_chains(
            motion.models[0], motion.chains, box_size, pixel_size, sizes, motion.axis
        )
    if motion.mask is not None:
        mask = read_mask(motion.mask, box_size, pixel_size)
        words = f"the domain within {motion.mask.name}"
    else:
        mask, mass = domain_at_the_end(consensus, pixel_size, motion.domain_kda)
        words = f"the outermost {mass:g} kDa"
    return turned_domain(consensus, mask, pixel_size, sizes, motion.axis, words)


def _scaled(
    volume: Float[Tensor, "box box box"],
    reference: Float[Tensor, "box box box"],
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    noise: NoiseModel,
    radius: int,
    source: str,
) -> Float[Tensor, "box box box"]:
    """A volume whose shells are on the scale that another one has in the images."""
    factors, _ = amplitudes(images, rows, reference, noise, radius)
    coarse = factors[1 : COARSE + 1]
    if float(coarse.mean()) <= 0:
        msg = (
            f"{source} does not resemble the images: its density would have the "
            "other sign; give `invert` if particles are white on black, and a map in the "
            "frame of the poses"
        )
        raise ConfigError(msg)
    return weight_shells(volume, factors[1:].clamp_min(0))


def _on_scale(
    motions: Motions,
    consensus: Float[Tensor, "box box box"],
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    noise: NoiseModel,
    radius: int,
) -> Motions:
    """States in the place and on the scale of what the images show, shell by shell."""
    motions = _in_place(motions, consensus)
    agreement = _agreement(consensus, motions.rest)
    if agreement < LEAST_AGREEMENT:
        msg = (
            f"the first state of {motions.words} does not lie in the map of the images, nor "
            f"could it be brought there (correlation {agreement:.2f}, expected at least "
            f"{LEAST_AGREEMENT:g}); give a model or map of this molecule, in this hand"
        )
        raise ConfigError(msg)

    def scaled(volume: Float[Tensor, "box box box"]) -> Float[Tensor, "box box box"]:
        return weight_shells(volume, factors)

    found, _ = amplitudes(images, rows, motions.rest, noise, radius)
    factors = found[1:].clamp_min(0)
    return replace(
        motions,
        rest=scaled(motions.rest),
        moved=torch.stack([scaled(part) for part in motions.moved]),
        is_model=False,
    )


def _in_place(motions: Motions, consensus: Float[Tensor, "box box box"]) -> Motions:
    """States moved together to where the one at rest agrees best with the consensus."""
    found = align_volume(consensus, motions.rest)
    rest = move_volume(motions.rest, found.rotation, found.shift)
    before, after = (_agreement(consensus, volume) for volume in (motions.rest, rest))
    if after <= before:
        return motions
    cosine = (float(found.rotation.trace()) - 1) / 2
    logger.info(
        "%s was aligned to the consensus, turned by %.1f° and moved by %.1f px: their "
        "correlation was %.3f and is %.3f",
        motions.words,
        math.degrees(math.acos(min(max(cosine, -1.0), 1.0))),
        float(found.shift.norm()),
        before,
        after,
    )
    moved = [move_volume(part, found.rotation, found.shift) for part in motions.moved]
    return replace(motions, rest=rest, moved=torch.stack(moved))


def _agreement(first: Float[Tensor, "box box box"], second: Float[Tensor, "b b b"]) -> float:
    """Correlation of two volumes at low frequencies, the sign of shells set aside."""
    weights = torch.ones(COARSE)
    parts = [weight_shells(part, weights).flatten().double() for part in (first, second)]
    norms = parts[0].norm() * parts[1].norm()
    return float(parts[0] @ parts[1] / norms.clamp_min(1e-30))


def _without_own(scene: Scene, settings: FitSettings) -> Scene:
    """The set without the heterogeneity that the linear model finds in it."""
    images, count = scene.images, min(len(scene.images), LARGEST_TRIAL, settings.fit_images)
    rows = drawn_rows(images, count, settings.seed, 0)
    fit = fitted(images, rows, scene.noise, settings, settings.seed)
    signals = torch.nonzero(fit.agreement.is_signal).flatten()
    if not len(signals):
        return scene
    joint = fit.agreement.keeping(signals).joint
    posterior, _ = embed(images, torch.arange(len(images)), joint, fit.noise)
    logger.info(
        "%s; motions are planted in what is left without",
        counted(
            len(signals),
            "component of the set's own carries signal above noise",
            "components of the set's own carry signal above noise",
        ),
    )
    own = [resize_volume(volume, images.box_size) for volume in joint.volumes[1:]]
    background = replace(
        scene.background,
        volumes=torch.stack([scene.consensus.to(images.device), *own]),
        latents=posterior.mean.to(images.device),
    )
    return replace(scene, background=background, num_own=len(signals))


def require_shares(shares: Sequence[float], count: int) -> tuple[float, ...]:
    """Shares of the minor state, each once, in the order given.

    Args:
        shares: The shares.
        count: Number of particles.

    Raises:
        ConfigError: One is not between 0 and 1, or less than one particle.
    """
    wrong = [share for share in shares if not 0 < share < 1]
    if wrong or not shares:
        found = f"got {wrong[0]:g}" if wrong else "got none"
        msg = f"shares of a state must lie between 0 and 1, ends excluded, {found}"
        raise ConfigError(msg)
    few = [share for share in shares if min(share, 1 - share) * count < 1]
    if few:
        msg = (
            f"a share of {few[0]:g} leaves less than one of {count} particles in one of the "
            f"two states; `shares` of {count} particles lie between {1 / count:.2g} and "
            f"{1 - 1 / count:.6g}"
        )
        raise ConfigError(msg)
    return tuple(dict.fromkeys(float(share) for share in shares))
